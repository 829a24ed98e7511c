//! What a game may ask of the backend through the agent: methods, and patterns of paths.
//!
//! A pattern is `"GET /inventory/v1/**"`: a method, and a path in which `*` stands for one segment and `**`, at the end, for all
//! that comes. Nothing is allowed that no pattern names.

use std::fmt;

/// A method that may be passed on. The others either mean the connection (CONNECT, TRACE) or ask nothing of the backend (OPTIONS).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// GET
    Get,
    /// HEAD: whoever may GET may ask for the head alone.
    Head,
    /// POST
    Post,
    /// PUT
    Put,
    /// PATCH
    Patch,
    /// DELETE
    Delete,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Get, Self::Head, Self::Post, Self::Put, Self::Patch, Self::Delete];

    /// The method as it is written, in capitals (RFC 9110, 9.1: case matters).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    /// The verb of a method; `None` for one that is never passed on.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.as_str() == text)
    }

    /// Whether it changes nothing, and may be repeated (RFC 9110, 9.2.1).
    pub fn is_safe(self) -> bool {
        match self {
            Self::Get | Self::Head => true,
            Self::Post | Self::Put | Self::Patch | Self::Delete => false,
        }
    }
}

/// One line of `proxy.allow`.
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern {
    verb: Verb,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// This very segment.
    Exact(String),
    /// Any one segment.
    One,
    /// All the rest, at least one segment.
    Rest,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// No method and path.
    #[error("must be a method and a path, such as \"GET /inventory/v1/**\"")]
    Form,
    /// Another method.
    #[error("the method must be GET, HEAD, POST, PUT, PATCH or DELETE")]
    Verb,
    /// A segment that no path can have.
    #[error("a segment may not be empty, \".\" or \"..\", and has only letters, digits and -._~!$&'()+,=:@")]
    Segment,
    /// A star in the wrong place.
    #[error("a * stands for a whole segment, and ** for all the rest at the end")]
    Star,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// If it could never match, or would match something else than it seems to.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let (verb, path) = text.split_once(' ').ok_or(PatternError::Form)?;
        let verb = Verb::parse(verb).ok_or(PatternError::Verb)?;
        let path = path.trim_start().strip_prefix('/').ok_or(PatternError::Form)?;
        let segments: Vec<&str> = path.split('/').collect();
        let last = segments.len() - 1;
        let step = |(index, segment): (usize, &&str)| match *segment {
            "*" => Ok(Step::One),
            "**" if index == last => Ok(Step::Rest),
            // A path may end with a slash: the contract has one that does.
            "" if index == last && index > 0 => Ok(Step::Exact(String::new())),
            segment if segment.contains('*') => Err(PatternError::Star),
            "" | "." | ".." => Err(PatternError::Segment),
            segment if segment.bytes().all(is_plain) => Ok(Step::Exact(segment.to_owned())),
            _ => Err(PatternError::Segment),
        };
        let steps = segments.iter().enumerate().map(step).collect::<Result<_, _>>()?;
        Ok(Self { verb, steps })
    }

    /// Whether it allows a request, by the segments of its checked path.
    pub fn allows(&self, verb: Verb, segments: &[&str]) -> bool {
        (self.verb == verb || (self.verb == Verb::Get && verb == Verb::Head)) && matches(&self.steps, segments)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.verb.as_str())?;
        self.steps.iter().try_for_each(|step| match step {
            Step::Exact(segment) => write!(f, "/{segment}"),
            Step::One => f.write_str("/*"),
            Step::Rest => f.write_str("/**"),
        })
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

fn matches(steps: &[Step], segments: &[&str]) -> bool {
    match (steps.split_first(), segments.split_first()) {
        (None, None) => true,
        (Some((Step::Rest, _)), Some((first, _))) => !first.is_empty(),
        (Some((Step::One, steps)), Some((first, segments))) => !first.is_empty() && matches(steps, segments),
        (Some((Step::Exact(wanted), steps)), Some((first, segments))) => wanted == first && matches(steps, segments),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

/// Whether a byte may stand in a segment of a path as it is (RFC 3986, pchar), but for `*`, which is ours here, and `;`, after which
/// some servers see something else than others.
pub fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()+,=:@".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn allows(pattern: &str, verb: Verb, path: &str) -> bool {
        let segments: Vec<&str> = path.strip_prefix('/').unwrap().split('/').collect();
        Pattern::parse(pattern).unwrap().allows(verb, &segments)
    }

    #[test]
    fn a_star_is_one_segment_and_two_are_the_rest() {
        for (pattern, path) in [
            ("GET /inventory/v1/**", "/inventory/v1/a"),
            ("GET /inventory/v1/**", "/inventory/v1/a/b/c"),
            ("GET /inventory/v1/**", "/inventory/v1/a/"),
            ("GET /rank/v2/*/update", "/rank/v2/r-1/update"),
            ("GET /*", "/a"),
            ("GET /**", "/a/b"),
            ("GET /a/", "/a/"),
        ] {
            assert!(allows(pattern, Verb::Get, path), "{pattern} {path}");
            assert!(allows(pattern, Verb::Head, path), "who may GET may HEAD: {pattern} {path}");
            assert!(!allows(pattern, Verb::Post, path), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("GET /inventory/v1/**", "/inventory/v1"),
            ("GET /inventory/v1/**", "/inventory/v1/"),
            ("GET /inventory/v1/**", "/inventory/v2/a"),
            ("GET /inventory/v1/**", "/Inventory/v1/a"),
            ("GET /inventory/v1/**", "/x/inventory/v1/a"),
            ("GET /rank/v2/*/update", "/rank/v2/a/b/update"),
            ("GET /rank/v2/*/update", "/rank/v2//update"),
            ("GET /rank/v2/*/update", "/rank/v2/a/update/b"),
            ("GET /rank/v2/*/update", "/rank/v2/a/update/"),
            ("GET /*", "/"),
            ("GET /a", "/a/"),
            ("GET /a/", "/a"),
        ] {
            assert!(!allows(pattern, Verb::Get, path), "{pattern} {path}");
        }
        assert!(!allows("HEAD /a", Verb::Get, "/a"));
    }

    #[test]
    fn what_is_no_pattern_is_named() {
        for (text, error) in [
            ("", PatternError::Form),
            ("/a", PatternError::Form),
            ("GET", PatternError::Form),
            ("GET a", PatternError::Form),
            ("GET https://x.example/a", PatternError::Form),
            ("get /a", PatternError::Verb),
            ("CONNECT /a", PatternError::Verb),
            ("TRACE /a", PatternError::Verb),
            ("* /a", PatternError::Verb),
            ("GET /", PatternError::Segment),
            ("GET //a", PatternError::Segment),
            ("GET /a//b", PatternError::Segment),
            ("GET /a/../b", PatternError::Segment),
            ("GET /a/.", PatternError::Segment),
            ("GET /a%2Fb", PatternError::Segment),
            ("GET /a?b", PatternError::Segment),
            ("GET /a;b", PatternError::Segment),
            ("GET /a b", PatternError::Segment),
            ("GET /ä", PatternError::Segment),
            ("GET /a/**/b", PatternError::Star),
            ("GET /a*", PatternError::Star),
            ("GET /***", PatternError::Star),
        ] {
            assert_eq!(Pattern::parse(text).unwrap_err(), error, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_pattern_is_read_as_it_is_shown(text in "(GET|POST|DELETE) (/[a-z.]{1,4}|/\\*){1,5}(/\\*\\*)?") {
            if let Ok(pattern) = Pattern::parse(&text) {
                prop_assert_eq!(Pattern::parse(&pattern.to_string()).unwrap(), pattern);
            }
        }

        #[test]
        fn without_stars_a_pattern_is_one_path(one in "(/[ab]{1,2}){1,4}", other in "(/[ab]{1,2}){1,4}") {
            prop_assert_eq!(allows(&format!("PUT {one}"), Verb::Put, &other), one == other);
        }

        #[test]
        fn any_text_is_a_pattern_or_a_mistake(text in any::<String>()) {
            let _either = Pattern::parse(&text);
        }
    }
}
