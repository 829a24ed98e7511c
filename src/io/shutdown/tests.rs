//! The messages of D-Bus byte by byte, and a logind of the test's own on a socket of the test's own.

use super::bus::{Address, Bus, CallError};
use super::message::{Call, HEAD, Kind, Message, rest};
use super::*;

/// A message as the specification has it, written by hand.
fn signal(body: &[u8]) -> Vec<u8> {
    let mut fields = Vec::new();
    for (code, kind, text) in [
        (1u8, b'o', "/org/freedesktop/login1"),
        (2, b's', "org.freedesktop.login1.Manager"),
        (3, b's', "PrepareForShutdown"),
    ] {
        fields.resize(fields.len().next_multiple_of(8), 0);
        fields.extend_from_slice(&[code, 1, kind, 0]);
        fields.extend_from_slice(&u32::try_from(text.len()).unwrap().to_le_bytes());
        fields.extend_from_slice(text.as_bytes());
        fields.push(0);
    }
    fields.resize(fields.len().next_multiple_of(8), 0);
    fields.extend_from_slice(&[8, 1, b'g', 0, 1, b'b', 0]);
    let mut message = vec![b'l', 4, 1, 1];
    for number in [body.len(), 7, fields.len()] {
        message.extend_from_slice(&u32::try_from(number).unwrap().to_le_bytes());
    }
    message.extend_from_slice(&fields);
    message.resize(message.len().next_multiple_of(8), 0);
    message.extend_from_slice(body);
    message
}

fn decode(bytes: &[u8]) -> std::io::Result<Message> {
    let head: &[u8; HEAD] = bytes.first_chunk().unwrap();
    assert_eq!(HEAD + rest(head)?, bytes.len());
    Message::decode(head, &bytes[HEAD..])
}

#[test]
fn a_call_is_written_as_the_specification_says() {
    let call = Call {
        destination: "org.freedesktop.DBus",
        path: "/org/freedesktop/DBus",
        interface: "org.freedesktop.DBus",
        member: "Hello",
        arguments: &[],
    };
    // What libdbus sends, but for the order of the fields.
    let mut wanted = b"l\x01\0\x01\0\0\0\0\x01\0\0\0\x6d\0\0\0".to_vec();
    wanted.extend_from_slice(b"\x01\x01o\0\x15\0\0\0/org/freedesktop/DBus\0\0\0");
    wanted.extend_from_slice(b"\x02\x01s\0\x14\0\0\0org.freedesktop.DBus\0\0\0\0");
    wanted.extend_from_slice(b"\x03\x01s\0\x05\0\0\0Hello\0\0\0");
    wanted.extend_from_slice(b"\x06\x01s\0\x14\0\0\0org.freedesktop.DBus\0\0\0\0");
    assert_eq!(call.encode(1), wanted);
    let body = Call { arguments: &["ab", "c"], ..call }.encode(2);
    assert!(body.ends_with(b"\x08\x01g\0\x02ss\0\x02\0\0\0ab\0\0\x01\0\0\0c\0"), "{body:?}");
}

#[test]
fn a_signal_is_read_and_one_that_is_cut_or_wrong_is_an_error() {
    let bytes = signal(&[1, 0, 0, 0]);
    let message = decode(&bytes).unwrap();
    let (interface, member) = ("org.freedesktop.login1.Manager".to_owned(), "PrepareForShutdown".to_owned());
    assert_eq!((&message.kind, message.boolean()), (&Kind::Signal { interface, member }, Some(true)));
    assert_eq!(decode(&signal(&[0; 4])).unwrap().boolean(), Some(false));
    let head: &[u8; HEAD] = bytes.first_chunk().unwrap();
    for cut in HEAD..bytes.len() {
        // Never a panic, and never a shutdown of a host that said nothing.
        if let Ok(message) = Message::decode(head, &bytes[HEAD..cut]) {
            assert_eq!(message.boolean(), None, "{cut}");
        }
    }
    for place in 0..bytes.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut damaged = bytes.clone();
            damaged[place] = value;
            let head: &[u8; HEAD] = damaged.first_chunk().unwrap();
            if rest(head).is_ok() {
                let _any = Message::decode(head, &damaged[HEAD..]);
            }
        }
    }
    let mut long = bytes;
    long[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(rest(long.first_chunk().unwrap()).is_err());
}

#[test]
fn the_address_of_the_bus_is_found() {
    let address = |value: &str| {
        let env = [("DBUS_SYSTEM_BUS_ADDRESS".to_owned(), value.to_owned())].into();
        Address::of(&Surroundings { env })
    };
    assert_eq!(address(""), Address::Path("/run/dbus/system_bus_socket".into()));
    assert_eq!(address("unix:path=/a%20b,guid=1"), Address::Path("/a b".into()));
    assert_eq!(address("tcp:host=x;unix:guid=1,abstract=x"), Address::Abstract(b"x".to_vec()));
    assert_eq!(address("tcp:host=x"), Address::Unknown("tcp:host=x".to_owned()));
    assert_eq!(address("unix:path=%zz"), Address::Unknown("unix:path=%zz".to_owned()));
}

#[tokio::test]
async fn what_is_no_bus_is_an_error_and_not_a_hang() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bus");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let answer = async {
        for said in [&b"REJECTED EXTERNAL\r\n"[..], &[b'x'; 8192], b""] {
            let (mut stream, _) = listener.accept().await.unwrap();
            // The peer may have had enough before it is all written.
            let _gone = tokio::io::AsyncWriteExt::write_all(&mut stream, said).await;
        }
    };
    let ask = async {
        for _ in 0..3 {
            assert!(Bus::connect(&Address::Path(path.clone())).await.is_err());
        }
    };
    tokio::join!(answer, ask);
}

fn call<'a>(member: &'a str, arguments: &'a [&'a str]) -> Call<'a> {
    let (name, path) = ("org.freedesktop.DBus", "/org/freedesktop/DBus");
    Call { destination: name, path, interface: name, member, arguments }
}

/// A real message bus, where the machine has one: it is strict about what it is sent.
#[tokio::test]
async fn a_real_bus_takes_what_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bus");
    let daemon = tokio::process::Command::new("dbus-daemon")
        .args(["--session", "--nofork", "--nopidfile", &format!("--address=unix:path={}", path.display())])
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn();
    // Not on every machine; the gate has it.
    let Ok(_daemon) = daemon else { return };
    let address = Address::Path(path.clone());
    let mut bus = loop {
        match Bus::connect(&address).await {
            Ok(bus) => break bus,
            Err(_not_there_yet) => tokio::task::yield_now().await,
        }
    };
    let (hello, _) = bus.call(&call("Hello", &[])).await.unwrap();
    let name = hello.text().unwrap();
    assert!(name.starts_with(':'), "{name}");
    bus.call(&call("AddMatch", &["type='signal',interface='org.freedesktop.login1.Manager'"])).await.unwrap();
    let (owner, _) = bus.call(&call("GetNameOwner", &[&name])).await.unwrap();
    assert_eq!(owner.text(), Some(name));
    let refused = bus.call(&call("GetNameOwner", &["org.freedesktop.login1"])).await.unwrap_err();
    assert!(
        matches!(&refused, CallError::Refused { name, .. } if name == "org.freedesktop.DBus.Error.NameHasNoOwner"),
        "{refused}"
    );
}
