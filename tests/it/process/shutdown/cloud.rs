//! The script that asks a cloud, against metadata of the test's own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::Command;
use std::thread;

use rallyhere_agent::core::shutdown::TERMINATE;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/examples/termination-notice.sh");

/// Answers as a cloud's metadata: the first page whose path begins so; else 404.
fn metadata(pages: Vec<(&'static str, &'static str)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines: Vec<String> =
                BufReader::new(&stream).lines().map(|line| line.unwrap()).take_while(|line| !line.is_empty()).collect();
            let path = lines[0].split(' ').nth(1).unwrap();
            let (status, body) = pages
                .iter()
                .find(|(begin, _)| path.starts_with(begin))
                .map_or(("404 Not Found", ""), |(_, body)| ("200 OK", body));
            let length = body.len();
            write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}").unwrap();
        }
    });
    address
}

/// Exit code and the line that was printed.
fn asked(cloud: &str, pages: Vec<(&'static str, &'static str)>) -> (i32, String) {
    let output = Command::new("sh").args([SCRIPT, cloud]).env("METADATA", metadata(pages)).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[test]
fn the_script_for_clouds_says_what_their_metadata_say() {
    // Not on every machine; the gate has it.
    if Command::new("curl").arg("--version").output().is_err() {
        return;
    }
    let quiet = |cloud, pages| assert_eq!(asked(cloud, pages), (0, String::new()), "{cloud}");
    let ends = |cloud, pages, why: &str| assert_eq!(asked(cloud, pages), (TERMINATE, why.to_owned()));
    let broken = |cloud, pages| assert!(![0, TERMINATE].contains(&asked(cloud, pages).0), "{cloud}");

    let (token, action) = (("/latest/api/token", "t"), "/latest/meta-data/spot/instance-action");
    quiet("ec2", vec![token]);
    ends("ec2", vec![token, (action, r#"{"action": "terminate"}"#)], "EC2 takes this spot instance back");
    broken("ec2", vec![]);

    let at = "/computeMetadata/v1/instance/";
    let page = |name: &str, body| (&*format!("{at}{name}").leak(), body);
    quiet("gce", vec![page("preempted", "FALSE"), page("maintenance-event", "NONE")]);
    quiet("gce", vec![page("preempted", "FALSE"), page("maintenance-event", "MIGRATE_ON_HOST_MAINTENANCE")]);
    ends("gce", vec![page("preempted", "TRUE")], "Google takes this machine back");
    let end = page("maintenance-event", "TERMINATE_ON_HOST_MAINTENANCE");
    ends("gce", vec![page("preempted", "FALSE"), end], "Google ends this machine for maintenance");
    broken("gce", vec![]);
    broken("gce", vec![page("preempted", "<html>")]);

    let (name, events) = (("/metadata/instance/compute/name", "vm-7"), "/metadata/scheduledevents");
    quiet("azure", vec![name, (events, r#"{"DocumentIncarnation":1,"Events":[]}"#)]);
    let freeze = r#"{"Events": [{"EventType": "Freeze", "Resources": ["vm-7"]}]}"#;
    let other = r#"{"Events": [{"EventType": "Freeze", "Resources": ["vm-7"]}, {"EventType": "Preempt", "Resources": ["vm-8"]}]}"#;
    let ours = r#"{"Events": [{"EventType": "Preempt", "Resources": ["vm-6", "vm-7"]}]}"#;
    quiet("azure", vec![name, (events, freeze)]);
    quiet("azure", vec![name, (events, other)]);
    ends("azure", vec![name, (events, ours)], "Azure ends this machine");
    broken("azure", vec![]);
    broken("cloud", vec![]);
}
