//! What fuzzing begins with, and what it has found: each file's name says how it must be read.

use std::fs;
use std::path::Path;

use rallyhere_agent::wire::a2s::{Answer, decode};

#[test]
fn every_datagram_is_read_as_its_name_says() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/fuzz/a2s");
    let mut seen = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let read = decode(&fs::read(&path).unwrap());
        let good = match name.split('-').next().unwrap() {
            "good" => matches!(read, Ok(Answer::Info(_))),
            "challenge" => matches!(read, Ok(Answer::Challenge(_))),
            "bad" => read.is_err(),
            _ => panic!("{name}: good, challenge or bad?"),
        };
        assert!(good, "{name}: {read:?}");
        seen += 1;
    }
    assert!(seen >= 20, "only {seen} were seen");
}
