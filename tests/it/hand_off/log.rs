//! `notifications.deliver = "log"`.

use super::{serving, until_all_is_done};
use crate::process::generations::not_today;
use crate::process::home::Home;
use crate::process::stage::Stage;

#[tokio::test]
async fn each_one_is_a_line_and_that_takes_it() {
    if not_today("generations::today_a_hook_gets_the_changes: how one came to the inbox is nothing to the push") {
        return;
    }
    let stage = Stage::start().await;
    let home = Home::new(&stage).alone().set("notifications.deliver", "log").set("log.level", "info");
    let mut agent = serving(&home, &stage).await;
    let ids: Vec<String> = (1..=30).map(|n| stage.notify(&format!("message number {n}\nforged line"))).collect();
    let status = agent.until("thirty taken", |status| status["counters"]["notifications_acknowledged"] == 30).await;
    assert_eq!(status["notifications"]["set_aside"], 0);
    until_all_is_done(&mut agent).await;
    agent.until_says(&ids[29]).await;
    let output = agent.output();
    let told: Vec<&str> = output.lines().filter(|line| line.contains("notification: message number")).collect();
    assert_eq!(told.len(), 30, "{output}");
    for (n, (line, id)) in (1..).zip(told.iter().zip(&ids)) {
        assert!(line.contains(&format!("message number {n}\\nforged line")), "{line}");
        assert!(line.contains(id.as_str()) && line.contains("created") && line.contains("INFO"), "{line}");
    }
    agent.stop().await;
}
