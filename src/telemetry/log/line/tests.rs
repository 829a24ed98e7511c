use super::*;

const TIME: &str = "2026-11-22T10:00:00.0421Z";

fn line(format: LogFormat, message: &str, pairs: Vec<(&'static str, Value)>) -> String {
    render(format, TIME.parse().unwrap(), Level::INFO, "tests", &Fields { message: message.to_owned(), pairs })
}

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

/// Everything with which a line could be broken, hidden or turned around.
const HOSTILE: &str = "a\nb\r\nc\td\u{0}\u{1b}[2J\u{7f}\u{85}\u{9b}\u{2028}\u{2029}\u{202e}\u{2066}\u{feff}z";

#[test]
fn text_has_time_level_message_and_fields() {
    let pairs = vec![("tries", Value::Bare("3".to_owned())), ("why", text("timed out")), ("instance", text("main"))];
    assert_eq!(
        line(LogFormat::Text, "a call failed", pairs),
        "2026-11-22T10:00:00.042Z INFO  a call failed tries=3 why=\"timed out\" instance=main\n"
    );
}

#[test]
fn the_journal_gets_a_priority_and_no_time() {
    for (level, prefix) in [
        (Level::ERROR, "<3>"),
        (Level::WARN, "<4>"),
        (Level::INFO, "<6>"),
        (Level::DEBUG, "<7>"),
        (Level::TRACE, "<7>"),
    ] {
        let fields = Fields { message: "words".to_owned(), pairs: vec![("n", Value::Bare("1".to_owned()))] };
        let line = render(LogFormat::Journald, TIME.parse().unwrap(), level, "tests", &fields);
        assert_eq!(line, format!("{prefix}words n=1\n"));
    }
}

#[test]
fn json_is_one_object_a_line() {
    let pairs = vec![("tries", Value::Bare("3".to_owned())), ("level", text("a \"b\" \\ c"))];
    let line = line(LogFormat::Json, "words", pairs);
    assert!(line.ends_with("}\n"));
    let object: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        object,
        serde_json::json!({
            "time": "2026-11-22T10:00:00.042Z", "level": "info", "target": "tests", "message": "words",
            "tries": 3, "level_": "a \"b\" \\ c",
        })
    );
}

#[test]
fn nobody_can_forge_a_line_in_any_format() {
    for format in [LogFormat::Text, LogFormat::Json, LogFormat::Journald] {
        let line = line(format, HOSTILE, vec![("field", text(HOSTILE))]);
        let body = line.strip_suffix('\n').unwrap();
        assert!(!body.chars().any(is_hidden), "{format:?}: {body:?}");
        assert!(body.contains("a\\nb\\r\\nc\\td"), "{format:?}: {body:?}");
    }
    let json = line(LogFormat::Json, HOSTILE, Vec::new());
    let object: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(object["message"], HOSTILE, "and JSON gives back what was said");
}

#[test]
fn a_quote_cannot_end_a_value() {
    let line = line(LogFormat::Text, "m", vec![("said", text("x\" level=\"error\\"))]);
    assert!(line.ends_with(" m said=\"x\\\" level=\\\"error\\\\\"\n"), "{line}");
    assert!(self::line(LogFormat::Text, "m", vec![("said", text(""))]).ends_with(" m said=\"\"\n"));
}

#[test]
fn a_long_value_is_cut_between_characters() {
    let cut = bounded(format_args!("x{}", "é".repeat(VALUE_LIMIT)));
    assert!(cut.len() <= VALUE_LIMIT + CUT.len_utf8());
    assert!(cut.starts_with("xéé") && cut.ends_with("é…"), "{} bytes", cut.len());
    let whole = "y".repeat(VALUE_LIMIT);
    assert_eq!(bounded(format_args!("{whole}")), whole);
}

#[test]
fn an_error_is_written_with_its_causes() {
    #[derive(Debug, thiserror::Error)]
    #[error("cannot save")]
    struct Outer(#[source] std::io::Error);

    assert_eq!(Chain(&Outer(std::io::Error::other("disk full"))).to_string(), "cannot save: disk full");
}

#[test]
fn the_nearest_field_of_a_name_stays() {
    let mut fields = Fields { message: "m".to_owned(), pairs: vec![("phase", text("serving"))] };
    fields.inherit(&Fields {
        message: String::new(),
        pairs: vec![("phase", text("loading")), ("instance", text("main"))],
    });
    assert_eq!(fields.pairs, vec![("phase", text("serving")), ("instance", text("main"))]);
}
