//! Any datagram at all: no panic, nothing long, and nothing that was cut short taken for a whole.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rallyhere_agent::wire::a2s::{Answer, decode, request};

fuzz_target!(|datagram: &[u8]| {
    match decode(datagram) {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(Answer::Challenge(challenge)) => {
            assert_eq!(request(Some(challenge)).get(25..), datagram.get(5..9));
        }
        Ok(Answer::Info(info)) => {
            for text in [&info.name, &info.map, &info.game, &info.version] {
                assert!(text.chars().count() <= 128 && !text.chars().any(char::is_control));
            }
            // What follows an answer changes nothing of it, unless it is what the answer announced.
            if datagram.len() < 1400 {
                assert!(decode(&[datagram, &[0; 64]].concat()).is_ok());
            }
        }
    }
});
