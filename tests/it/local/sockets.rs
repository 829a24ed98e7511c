//! The socket's file and the address: made, taken over, refused, removed.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;

use rallyhere_agent::config::settings;
use rallyhere_agent::io::local::{LocalApi, LocalApiError};

use super::fake::{Fake, Served};
use super::raw::{Via, within};

fn on_socket(path: &Path) -> settings::LocalApi {
    settings::LocalApi { socket: Some(path.to_owned()), ..settings::LocalApi::default() }
}

fn on_tcp(addr: &str) -> settings::LocalApi {
    settings::LocalApi { listen: Some(addr.parse().unwrap()), ..settings::LocalApi::default() }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test]
async fn the_socket_is_for_user_and_group_and_its_directory_is_made() {
    let fake = Fake::start();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rallyhere-agent").join("agent.sock");
    let api = LocalApi::bind(&on_socket(&path), fake.handle.clone()).unwrap();
    assert_eq!(mode(&path), 0o660);
    assert_eq!(mode(path.parent().unwrap()) & 0o027, 0, "nothing for others, no writing for the group");
    assert_eq!(api.socket(), Some(path.as_path()));
    drop(api);
    assert!(!path.exists(), "also an API that was never served leaves nothing");

    let lost = dir.path().join("a").join("b").join("agent.sock");
    let error = LocalApi::bind(&on_socket(&lost), fake.handle).unwrap_err();
    assert!(matches!(error, LocalApiError::Directory { .. }), "{error}");
}

#[tokio::test]
async fn a_socket_that_nobody_answers_on_is_taken_over() {
    let fake = Fake::start();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let api = LocalApi::bind(&on_socket(&path), fake.handle.clone()).unwrap();
    let mut server = tokio::task::JoinSet::new();
    server.spawn(api.serve(std::future::pending()));
    assert_eq!(Via::Socket(path.clone()).get("/v1/status").await.status, 200);
    server.shutdown().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn a_socket_that_somebody_answers_on_is_left_alone() {
    let served = Served::start();
    let error = LocalApi::bind(&on_socket(&served.socket), served.fake.handle.clone()).unwrap_err();
    assert!(matches!(error, LocalApiError::SocketInUse { .. }), "{error}");
    assert!(error.to_string().contains("agent.sock"), "{error}");
    assert_eq!(served.uds().get("/v1/status").await.status, 200);

    // Nobody accepts, the queue is full: still somebody's.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("busy.sock");
    let _listener = UnixListener::bind(&path).unwrap();
    let error = LocalApi::bind(&on_socket(&path), served.fake.handle.clone()).unwrap_err();
    assert!(matches!(error, LocalApiError::SocketInUse { .. }), "{error}");
}

#[tokio::test]
async fn a_file_in_the_way_is_never_removed() {
    let fake = Fake::start();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(dir.path().join("nowhere"), &link).unwrap();
    for path in [file.as_path(), link.as_path(), dir.path()] {
        let error = LocalApi::bind(&on_socket(path), fake.handle.clone()).unwrap_err();
        assert!(matches!(error, LocalApiError::NotASocket { .. }), "{error}");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
}

#[tokio::test]
async fn a_socket_of_somebody_else_in_our_place_is_not_removed_at_the_end() {
    let fake = Fake::start();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent.sock");
    let api = LocalApi::bind(&on_socket(&path), fake.handle).unwrap();
    // Under another name first, so that the new file cannot have the number of the old one.
    let theirs = dir.path().join("theirs.sock");
    let _listener = UnixListener::bind(&theirs).unwrap();
    std::fs::rename(&theirs, &path).unwrap();
    drop(api);
    assert!(path.exists());
}

#[tokio::test]
async fn a_path_that_is_too_long_says_by_how_much() {
    let fake = Fake::start();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x".repeat(108));
    let error = LocalApi::bind(&on_socket(&path), fake.handle.clone()).unwrap_err().to_string();
    assert!(error.contains("at most 107") && error.contains(&path.as_os_str().len().to_string()), "{error}");

    let longest = dir.path().join("x".repeat(107 - dir.path().as_os_str().len() - 1));
    LocalApi::bind(&on_socket(&longest), fake.handle).unwrap();
}

#[tokio::test]
async fn an_address_in_use_or_open_to_others_is_refused() {
    let mut served = Served::start();
    let handle = || served.fake.handle.clone();
    let error = LocalApi::bind(&on_tcp(&served.addr.to_string()), handle()).unwrap_err();
    assert!(matches!(error, LocalApiError::AddressInUse { .. }), "{error}");
    let error = LocalApi::bind(&on_tcp("0.0.0.0:0"), handle()).unwrap_err();
    assert!(matches!(error, LocalApiError::NotLoopback { .. }), "{error}");

    // Both or none: the socket goes again when the address fails.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent.sock");
    let both = settings::LocalApi { socket: Some(path.clone()), ..on_tcp(&served.addr.to_string()) };
    LocalApi::bind(&both, handle()).unwrap_err();
    assert!(!path.exists());

    // And the address is free again at once.
    assert_eq!(served.tcp().get("/v1/status").await.status, 200);
    served.stop();
    within(served.ended()).await;
    let again = LocalApi::bind(&on_tcp(&served.addr.to_string()), served.fake.handle.clone()).unwrap();
    assert_eq!(again.tcp_addr(), Some(served.addr));
}

#[tokio::test]
async fn with_allow_remote_another_host_is_served() {
    let fake = Fake::start();
    let settings = settings::LocalApi { allow_remote: true, ..on_tcp("127.0.0.1:0") };
    let api = LocalApi::bind(&settings, fake.handle.clone()).unwrap();
    let door = Via::Tcp(api.tcp_addr().unwrap());
    let mut server = tokio::task::JoinSet::new();
    server.spawn(api.serve(std::future::pending()));
    assert_eq!(door.call_with("GET", "/v1/status", &[("host", "game-7.example")], b"").await.status, 200);
    assert_eq!(door.call_with("GET", "/v1/status", &[("origin", "http://x")], b"").await.status, 403);
}
