use super::*;

fn address(host: &str, port: u16) -> Address {
    Address::parse(host, port).unwrap()
}

#[test]
fn an_address_becomes_the_connection_string_that_it_is_for() {
    let format = "unreal://{host}:{port}";
    for (host, port, public, private) in [
        ("203.0.113.7", 7777, "unreal://203.0.113.7:7777", ""),
        ("10.1.2.3", 1, "", "unreal://10.1.2.3:1"),
        ("172.16.0.1", 65535, "", "unreal://172.16.0.1:65535"),
        ("172.31.255.255", 65535, "", "unreal://172.31.255.255:65535"),
        ("172.32.0.1", 32768, "unreal://172.32.0.1:32768", ""),
        ("192.168.4.4", 7777, "", "unreal://192.168.4.4:7777"),
        ("192.169.4.4", 7777, "unreal://192.169.4.4:7777", ""),
        ("127.0.0.1", 7777, "unreal://127.0.0.1:7777", ""),
        ("10.example.org", 7777, "unreal://10.example.org:7777", ""),
        ("2001:db8::7", 65535, "unreal://[2001:db8::7]:65535", ""),
        ("[fd00::1]", 7777, "unreal://[fd00::1]:7777", ""),
    ] {
        let found = address(host, port).join_params(format);
        assert_eq!((found.public_conn_str.as_str(), found.private_conn_str.as_str()), (public, private), "{host}");
    }
    assert_eq!(address("a.b", 9).join_params("{port}@{host}").public_conn_str, "9@a.b");
}

#[test]
fn what_is_no_address_is_refused_by_its_field() {
    for host in ["", "a b", "http://a", "a/b", "[a]", "[::1", "g::1", "a:b", &"a".repeat(254)] {
        assert_eq!(Address::parse(host, 1).unwrap_err().field, "public_host", "{host}");
    }
    assert_eq!(Address::parse("a", 0).unwrap_err().field, "public_port");
}

#[test]
fn an_allocation_has_an_id_and_a_whole_address_or_none() {
    let field = |session: &str, allocation: &str, host: &str, port| {
        Allocation::read(Some(session), Some(allocation), Some(host), port).map_err(|invalid| invalid.field)
    };
    assert_eq!(field("", "", "", None), Err("session_id"));
    assert_eq!(field(&"x".repeat(129), "a", "", None), Err("session_id"));
    assert_eq!(field("s", "a\n", "", None), Err("allocation_id"));
    assert_eq!(field("s", "", "h", None), Err("public_port"));
    assert_eq!(field("s", "", "", Some(1)), Err("public_host"));
    assert_eq!(
        field("s", "", "h", Some(1)).unwrap().target(),
        Target::Session { session: SessionId::parse("s").unwrap(), allocation: None }
    );
    assert_eq!(field("", "a", "", None).unwrap().target(), Target::Allocation(AllocationId::parse("a").unwrap()));
}

#[test]
fn an_allocation_that_learns_its_session_later_is_the_same() {
    let made = |session: &str, allocation: &str| Allocation::read(Some(session), Some(allocation), None, None).unwrap();
    assert!(made("", "a").is_same(&made("s", "a")));
    assert!(made("s", "").is_same(&made("s", "a")));
    assert!(!made("s", "a").is_same(&made("t", "a")));
    assert!(!made("s", "a").is_same(&made("s", "b")));
    assert!(!made("s", "").is_same(&made("", "a")), "nothing in common says nothing");
}
