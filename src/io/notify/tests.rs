use std::time::Duration;

use super::*;

fn surroundings<const N: usize>(pairs: [(&str, &str); N]) -> Surroundings {
    Surroundings { env: pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect() }
}

/// A service manager, as far as it can be heard.
struct Listener {
    socket: UnixDatagram,
    directory: tempfile::TempDir,
}

impl Listener {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Self { socket, directory }
    }

    fn notifier(&self) -> Notifier {
        let address = self.directory.path().join("notify");
        Notifier::new(&surroundings([(SOCKET, address.to_str().unwrap())]))
    }

    fn heard(&self) -> String {
        hear(&self.socket)
    }
}

fn hear(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

#[test]
fn each_call_is_one_message_in_the_words_of_sd_notify() {
    let listener = Listener::new();
    let notifier = listener.notifier();
    assert!(notifier.is_active());
    notifier.ready("serving");
    assert_eq!(listener.heard(), "READY=1\nSTATUS=serving\n");
    notifier.status("1 instance: serving");
    assert_eq!(listener.heard(), "STATUS=1 instance: serving\n");
    notifier.watchdog();
    assert_eq!(listener.heard(), "WATCHDOG=1\n");
    notifier.extend_timeout(Duration::from_secs(5));
    assert_eq!(listener.heard(), "EXTEND_TIMEOUT_USEC=5000000\n");
    notifier.stopping("draining");
    assert_eq!(listener.heard(), "STOPPING=1\nSTATUS=draining\n");
}

#[test]
fn a_reload_carries_the_monotonic_time() {
    let listener = Listener::new();
    listener.notifier().reloading();
    let heard = listener.heard();
    let stamp = heard.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").and_then(|rest| rest.strip_suffix('\n'));
    assert!(stamp.is_some_and(|stamp| stamp.parse::<u64>().is_ok_and(|micros| micros > 0)), "{heard}");
}

#[test]
fn an_abstract_address_is_understood() {
    let name = format!("rallyhere-agent-test-{}", uuid::Uuid::new_v4());
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    Notifier::new(&surroundings([(SOCKET, &format!("@{name}"))])).watchdog();
    assert_eq!(hear(&socket), "WATCHDOG=1\n");
}

#[test]
fn a_status_cannot_smuggle_in_another_assignment() {
    let listener = Listener::new();
    listener.notifier().status("bye\nMAINPID=1\r\0");
    assert_eq!(listener.heard(), "STATUS=bye MAINPID=1  \n");
    listener.notifier().status(&"é".repeat(10_000));
    assert_eq!(listener.heard().chars().count(), "STATUS=\n".len() + STATUS_LIMIT);
}

#[test]
fn without_a_manager_or_with_a_broken_address_nothing_happens() {
    let long = format!("/{}", "x".repeat(200));
    for address in ["", "relative", "vsock:2:1234", &long] {
        let notifier = Notifier::new(&surroundings([(SOCKET, address), (WATCHDOG_USEC, "1000000")]));
        assert!(!notifier.is_active(), "{address}");
        assert_eq!(notifier.watchdog_interval(), None, "nobody would hear it");
        notifier.ready("up");
    }
    assert!(!Notifier::new(&Surroundings::default()).is_active());
    let gone = Notifier::new(&surroundings([(SOCKET, "/nonexistent/notify")]));
    gone.ready("up");
    gone.watchdog();
}

#[test]
fn a_manager_that_does_not_listen_holds_nobody_up_and_ready_is_said_later() {
    let listener = Listener::new();
    let notifier = listener.notifier();
    // Until its queue is full. If a send waited, this would never end.
    while !notifier.failing.load(Ordering::Relaxed) {
        notifier.watchdog();
    }
    notifier.ready("up");
    assert!(notifier.owes_ready.load(Ordering::Relaxed));

    while listener.heard() == "WATCHDOG=1\n" {
        notifier.watchdog();
        if !notifier.failing.load(Ordering::Relaxed) {
            break;
        }
    }
    let heard = std::iter::from_fn(|| Some(listener.heard())).find(|heard| heard != "WATCHDOG=1\n");
    assert_eq!(heard.as_deref(), Some("READY=1\nWATCHDOG=1\n"));
}

#[test]
fn the_watchdog_is_fed_twice_as_often_as_the_manager_wants() {
    let interval = |usec: &str, pid: &str| watchdog(&surroundings([(WATCHDOG_USEC, usec), (WATCHDOG_PID, pid)]), 42);
    assert_eq!(interval("30000000", "42"), Some(Duration::from_secs(15)));
    assert_eq!(interval("30000000", "43"), None, "meant for another process");
    assert_eq!(interval("30000000", "me"), None);
    assert_eq!(interval("0", "42"), None);
    assert_eq!(interval("-1", "42"), None);
    assert_eq!(watchdog(&surroundings([(WATCHDOG_USEC, "1000000")]), 42), Some(Duration::from_millis(500)));
    assert_eq!(watchdog(&Surroundings::default(), 42), None);
}
