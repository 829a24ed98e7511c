//! A2S_INFO, the question that Source engines and many others answer over UDP: bytes in, values out.
//!
//! Source: developer.valvesoftware.com/wiki/Server_queries. A datagram begins with four bytes, -1 for a whole message and -2
//! for a part of one; then comes a byte for its sort. A server may first answer with a challenge, four bytes that the
//! question must repeat. Numbers are little-endian, texts end with a NUL.
//!
//! Everything here comes from a stranger: a datagram is taken whole or refused, and no byte of it can do more than that.

use super::text;

/// What every question begins with.
const QUESTION: &[u8] = b"\xff\xff\xff\xffTSource Engine Query\0";
/// The first bytes of a message that fits one datagram.
const WHOLE: [u8; 4] = [0xff; 4];
/// The first bytes of a part of a message.
const PART: [u8; 4] = [0xfe, 0xff, 0xff, 0xff];
/// The app id of The Ship, the only game whose answer has fields of its own.
const THE_SHIP: u16 = 2400;
/// The most characters that are kept of a text.
const TEXT_LIMIT: usize = 128;

/// What a server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Ask again, with these four bytes.
    Challenge(u32),
    /// What was asked for.
    Info(Info),
}

/// What a server says of itself. Texts are fit for a log line: escaped, and cut to 128 characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Its name.
    pub name: String,
    /// The map.
    pub map: String,
    /// The game, in words.
    pub game: String,
    /// The version of the game.
    pub version: String,
    /// Players that are connected, as the server counts them: some count their bots too. May be more than `max_players`.
    pub players: u8,
    /// How many may be.
    pub max_players: u8,
    /// Bots.
    pub bots: u8,
}

/// Why a datagram is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum A2sError {
    /// It has not the head of any message.
    #[error("it does not begin as an A2S message does")]
    NotA2s,
    /// It is a part of a message. A2S_INFO fits one datagram, unless its texts are absurd.
    #[error(
        "its answer is split over several datagrams, which is not supported: shorten the server's name or keywords"
    )]
    Split,
    /// It is a message, but no answer to this question.
    #[error("it is an A2S message of another sort, {0:#04x}")]
    Sort(u8),
    /// It ends too soon.
    #[error("it ends before its {0}")]
    CutBefore(&'static str),
}

/// The question; with the challenge that was the answer to the one before.
pub fn request(challenge: Option<u32>) -> Vec<u8> {
    let mut bytes = QUESTION.to_vec();
    bytes.extend(challenge.iter().flat_map(|challenge| challenge.to_le_bytes()));
    bytes
}

/// Reads a datagram. What follows a whole answer is let pass: some servers append to it.
///
/// # Errors
/// If it is no answer to A2S_INFO, or not all of it.
pub fn decode(datagram: &[u8]) -> Result<Answer, A2sError> {
    let (head, rest) = datagram.split_first_chunk::<4>().ok_or(A2sError::NotA2s)?;
    match *head {
        WHOLE => {}
        PART => return Err(A2sError::Split),
        _ => return Err(A2sError::NotA2s),
    }
    let mut rest = Rest(rest);
    match rest.byte("sort")? {
        b'A' => Ok(Answer::Challenge(u32::from_le_bytes(rest.bytes("challenge")?))),
        b'I' => info(rest).map(Answer::Info),
        sort => Err(A2sError::Sort(sort)),
    }
}

fn info(mut rest: Rest<'_>) -> Result<Info, A2sError> {
    let _protocol = rest.byte("protocol")?;
    let name = rest.text("name")?;
    let map = rest.text("map")?;
    let _folder = rest.text("folder")?;
    let game = rest.text("game")?;
    let app = u16::from_le_bytes(rest.bytes("app id")?);
    let players = rest.byte("players")?;
    let max_players = rest.byte("maximum of players")?;
    let bots = rest.byte("bots")?;
    let _sort_system_password_vac: [u8; 4] = rest.bytes("kind of server")?;
    if app == THE_SHIP {
        let _mode_witnesses_duration: [u8; 3] = rest.bytes("mode")?;
    }
    let version = rest.text("version")?;
    // The flag of what else there is; old servers end here.
    if let Ok(extra) = rest.byte("extra data") {
        if extra & 0x80 != 0 {
            let _port: [u8; 2] = rest.bytes("port")?;
        }
        if extra & 0x10 != 0 {
            let _steam_id: [u8; 8] = rest.bytes("Steam id")?;
        }
        if extra & 0x40 != 0 {
            let _port: [u8; 2] = rest.bytes("spectator port")?;
            let _name = rest.text("spectator name")?;
        }
        if extra & 0x20 != 0 {
            let _keywords = rest.text("keywords")?;
        }
        if extra & 0x01 != 0 {
            let _game_id: [u8; 8] = rest.bytes("game id")?;
        }
    }
    Ok(Info {
        name: shown(name),
        map: shown(map),
        game: shown(game),
        version: shown(version),
        players,
        max_players,
        bots,
    })
}

fn shown(bytes: &[u8]) -> String {
    text::one_line(&String::from_utf8_lossy(bytes), TEXT_LIMIT)
}

/// What is left of a datagram.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn byte(&mut self, what: &'static str) -> Result<u8, A2sError> {
        self.bytes::<1>(what).map(|[byte]| byte)
    }

    fn bytes<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], A2sError> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(A2sError::CutBefore(what))?;
        self.0 = rest;
        Ok(*taken)
    }

    fn text(&mut self, what: &'static str) -> Result<&'a [u8], A2sError> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or(A2sError::CutBefore(what))?;
        let (text, rest) = self.0.split_at_checked(end).ok_or(A2sError::CutBefore(what))?;
        self.0 = rest;
        self.byte(what).map(|_nul| text)
    }
}

#[cfg(test)]
mod tests;
