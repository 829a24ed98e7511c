//! What the doctor says of the ways in which an instance is allocated.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use rallyhere_agent::simulator::{Fault, SicSpec, SicStatus};
use serde_json::json;

use super::{doctor, failed, is};
use crate::process::home::Home;
use crate::process::stage::Stage;

fn home(stage: &Stage, source: &str) -> Home {
    Home::new(stage).without("instance.session_id").set("instance.source", source)
}

#[tokio::test]
async fn the_file_is_read_as_the_agent_reads_it() {
    let stage = Stage::start().await;
    for source in ["file", "multiplay"] {
        let home = home(&stage, source);
        let path = home.path("server.json");
        let home = home.set("allocation.file", path.display().to_string());
        let check = "allocation.file (default)";
        let look = async |result: &str, words: &str| {
            let (code, found) = doctor(&home).await;
            is(&found, check, result, words);
            assert_eq!(code, i32::from(result == "fail"), "{found:#?}");
        };
        if source == "file" {
            look("ok", "the agent waits for it").await;
        } else {
            look("warn", "Multiplay writes it before it starts a server").await;
        }
        for (content, result, words) in [
            (json!({}).to_string(), "ok", "names no allocation"),
            ("{\"SessionId\": \"s".to_owned(), "fail", "cannot be understood"),
            ("[1]".to_owned(), "fail", "cannot be understood"),
            (
                json!({"SessionId": "s-1", "session_id": "s-1"}).to_string(),
                if source == "file" { "fail" } else { "ok" },
                "s",
            ),
        ] {
            fs::write(&path, content).unwrap();
            look(result, words).await;
        }
        let whole = json!({"allocation_id": "a-1", "public_host": "h", "public_port": 7});
        let theirs = json!({"AllocationUUID": "a-1", "SessionId": "s-1"});
        fs::write(&path, if source == "file" { whole } else { theirs }.to_string()).unwrap();
        look("ok", "names allocation a-1").await;
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        look("fail", "not a regular file").await;
        fs::remove_dir(&path).unwrap();
        // Root reads everything.
        if !rustix::process::geteuid().is_root() {
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
            look("fail", "ermission denied").await;
        }
    }
    let (code, found) = doctor(&home(&stage, "file").set("allocation.file", "/nowhere/at/all.json")).await;
    is(&found, "allocation.file (default)", "fail", "neither is its directory");
    assert_eq!(code, 1);
}

#[tokio::test]
async fn sic_is_asked_for_a_state_and_nothing_else() {
    let stage = Stage::start().await;
    let sic = || {
        home(&stage, "sic")
            .set("allocation.sic_profile_id", "p-1")
            .set("allocation.sic_server_id", "s-7")
            .set("allocation.public_host", "203.0.113.9")
            .set("allocation.public_port", 7777)
    };
    let home = sic();
    let (code, found) = doctor(&home).await;
    assert_eq!((code, failed(&found)), (0, vec![]), "{found:#?}");
    is(&found, "SIC", "ok", "does not know sic_s-7_7777 yet");
    is(&found, "allocation.public_port (default)", "ok", "203.0.113.9 port 7777");
    assert_eq!((stage.count("sic_state"), stage.count("sic_register")), (1, 0));
    let (_, found) = doctor(&sic().set("allocation.sic_id", "sic_s-7_27015")).await;
    is(&found, "SIC", "ok", "does not know sic_s-7_27015 yet");
    stage
        .simulator
        .set_sic(&SicSpec { id: "sic_s-7_7777".to_owned(), state: SicStatus::Allocating, ..SicSpec::default() })
        .unwrap();
    let agent = home.start();
    stage.until_count("sic_register", 1).await;
    let (_, found) = doctor(&home).await;
    is(&found, "SIC", "ok", "says that it is allocating");
    agent.stop().await;
    for (code, words) in [(403, "grant"), (404, "no SIC")] {
        let body = (code == 403).then(|| json!({"auth_success": true, "error_code": "insufficient_role"}));
        stage.inject(Fault::Status { code, body, headers: Vec::new() }.on("sic_state").times(1));
        let (code, found) = doctor(&home).await;
        is(&found, "SIC", "fail", "");
        assert!(super::of(&found, "SIC")["advice"].as_str().unwrap().contains(words), "{found:#?}");
        assert_eq!(code, 1);
    }
    assert_eq!(stage.count("sic_register"), 1, "the agent's own");
}

#[tokio::test]
async fn two_instances_at_one_address_and_a_local_api_that_is_off_are_told() {
    let stage = Stage::start().await;
    let home = home(&stage, "local")
        .set("allocation.public_host", "203.0.113.9")
        .set("allocation.public_port", 7777)
        .set("instances.a.local_api.socket", "none")
        .set("instances.b.instance.region", "eu");
    let (code, found) = doctor(&home).await;
    is(&found, "instance.source (a)", "fail", "the local API is off");
    is(&found, "instance.source (b)", "ok", "allocates it");
    is(&found, "allocation.public_port (b)", "fail", "also that of instance a");
    assert_eq!(code, 1);
}
