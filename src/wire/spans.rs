//! Where the values of a JSON document begin and end, without reading them.
//!
//! For text whose grammar was checked. On any other it gives wrong places, but no panic and no endless loop.

/// The fields of an object: name (with its quotes) and value; `None` for anything but an object.
pub(super) fn fields(object: &[u8]) -> Option<impl Iterator<Item = (&[u8], &[u8])>> {
    let mut rest = inside(object, b'{')?;
    Some(std::iter::from_fn(move || {
        let name = value(&mut rest)?;
        Some((name, value(&mut rest)?))
    }))
}

/// The elements of an array; `None` for anything but an array.
pub(super) fn elements(array: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    let mut rest = inside(array, b'[')?;
    Some(std::iter::from_fn(move || value(&mut rest)))
}

fn inside(text: &[u8], open: u8) -> Option<&[u8]> {
    text.trim_ascii_start().strip_prefix(&[open])
}

/// Takes the next value off; `None` at the end of what it stands in.
fn value<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let text = *rest;
    let start = text.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b',' | b':'))?;
    let text = text.get(start..)?;
    let length = match text.first()? {
        b'}' | b']' => return None,
        b'"' | b'{' | b'[' => closed(text),
        _ => text.iter().position(|byte| b" \t\r\n,:]}".contains(byte)).unwrap_or(text.len()),
    };
    let (value, after) = text.split_at_checked(length)?;
    *rest = after;
    Some(value)
}

/// How long the text, the object or the array is that begins here.
fn closed(text: &[u8]) -> usize {
    let (mut levels, mut quoted, mut escaped) = (0_usize, false, false);
    for (at, byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => levels += 1,
            b'}' | b']' if !quoted => levels = levels.saturating_sub(1),
            _ => {}
        }
        if levels == 0 && !quoted {
            return at + 1;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn fields_and_elements_are_cut_where_they_end() {
        let text = br#" { "a" : 1 , "b\"}":[{"]":"\\"},2],"c":"x,y:z","d":{} , "e":null } "#;
        let cut: Vec<_> = fields(text).unwrap().map(|(name, value)| (shown(name), shown(value))).collect();
        let expected = [
            (r#""a""#, "1"),
            (r#""b\"}""#, r#"[{"]":"\\"},2]"#),
            (r#""c""#, r#""x,y:z""#),
            (r#""d""#, "{}"),
            (r#""e""#, "null"),
        ];
        assert_eq!(cut, expected);
        let list: Vec<_> = elements(br#"[ "a" ,[1,[2]],true,-1.5e3]"#).unwrap().map(shown).collect();
        assert_eq!(list, [r#""a""#, "[1,[2]]", "true", "-1.5e3"]);
        assert_eq!((elements(b"[]").unwrap().count(), fields(b"{}").unwrap().count()), (0, 0));
        assert!(fields(b"[1]").is_none() && elements(b"{}").is_none() && elements(b"null").is_none());
    }

    #[test]
    fn what_is_no_json_ends_all_the_same() {
        for text in ["{", "{\"a", "{\"a\":", "[[[", "[\"\\", "[,,,,", "{:::", "[1}2", "[\"a\"\"b\""] {
            assert!(fields(text.as_bytes()).into_iter().flatten().count() <= 2, "{text}");
            assert!(elements(text.as_bytes()).into_iter().flatten().count() <= 2, "{text}");
        }
    }
}
