//! Any state directory at all: it is read in time, what is damaged is kept aside and told once, the store takes batches after it,
//! and an agent can be born of whatever was read.
//!
//! An input is a line for each record: `S` and a payload for a whole record of the snapshot, `L` for one of the log, `s` and `l`
//! for bytes as they stand, `=` for the number of the next record. The input is also read as it is, in place of both files.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use rallyhere_agent::clock;
use rallyhere_agent::config::{self, Sources, Surroundings};
use rallyhere_agent::core::agent::{Agent, Birth};
use rallyhere_agent::core::auth::{AuthState, AuthView};
use rallyhere_agent::core::call::{Answer, Call, Failure};
use rallyhere_agent::core::durable::{Durable, Record};
use rallyhere_agent::core::event::{Command, Event};
use rallyhere_agent::core::ids::{Generation, InstanceId, InstanceName};
use rallyhere_agent::core::params::Params;
use rallyhere_agent::core::{Action, Machine as _};
use rallyhere_agent::io::store::{Batch, Content, Disk, Engine, OpenError, Options};
use rallyhere_agent::wire::{Reply, decode};
use serde_json::{Value, json};

/// As long as reading a state may take (promises.md, 12).
const LIMIT: Duration = Duration::from_secs(2);
const NAMES: [&str; 2] = ["snapshot", "log"];
const WALL: &str = "2026-11-22T10:00:00Z";

/// Whether something was found that an operator should know.
pub(crate) fn hold(input: &[u8]) -> bool {
    let (snapshot, log) = framed(input);
    let _raw = directory(input, input);
    directory(&snapshot, &log)
}

fn framed(input: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut snapshot, mut log, mut next) = (Vec::new(), Vec::new(), 1_u64);
    let mut sum = 0;
    for line in input.split(|byte| *byte == b'\n') {
        match line {
            [b'S', payload @ ..] => push(&mut snapshot, sum, payload),
            [b'L', payload @ ..] => {
                push(&mut log, next, payload);
                next = next.wrapping_add(1);
            }
            [b's', bytes @ ..] => snapshot.extend_from_slice(bytes),
            [b'l', bytes @ ..] => log.extend_from_slice(bytes),
            [b'=', number @ ..] => {
                next = std::str::from_utf8(number).ok().and_then(|number| number.trim().parse().ok()).unwrap_or(next);
                if snapshot.is_empty() {
                    sum = next;
                    next = next.wrapping_add(1);
                }
            }
            _ => {}
        }
    }
    (snapshot, log)
}

/// A record as `io::store::frame` describes it.
fn push(out: &mut Vec<u8>, number: u64, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap();
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length.to_le_bytes());
    hasher.update(&number.to_le_bytes());
    hasher.update(payload);
    out.extend_from_slice(&[0xF7, b'R', b'H', 0xFB]);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&hasher.finalize().to_le_bytes());
    out.extend_from_slice(payload);
}

fn directory(snapshot: &[u8], log: &[u8]) -> bool {
    let disk = Memory::default();
    for (name, bytes) in NAMES.into_iter().zip([snapshot, log]) {
        if !bytes.is_empty() {
            disk.files().names.insert(name.to_owned(), Arc::new(Mutex::new(bytes.to_vec())));
        }
    }
    let begun = clock::now();
    let mut engine = open(&disk);
    let took = clock::now().duration_since(begun);
    assert!(took < LIMIT, "{took:?}");
    let status = engine.status();
    for finding in status.findings.iter() {
        let words = finding.to_string();
        assert!(!words.is_empty() && !words.chars().any(char::is_control), "{words:?}");
    }
    // Full it may be, for what was read is more than it would have taken.
    assert!(status.fault.is_none_or(|fault| fault.to_string().contains("full")), "{status:?}");
    if status.fault.is_none() {
        let again = open(&disk.copy());
        assert_eq!(again.mirror(), engine.mirror());
        assert_eq!(again.status().findings.as_slice(), [], "told once");
    }
    for words in status.findings.iter().map(ToString::to_string) {
        let Some((_, aside)) = words.split_once("kept as ") else { continue };
        let damaged = if words.starts_with("snapshot") { snapshot } else { log };
        assert_eq!(disk.bytes(aside), damaged, "{words}");
    }
    let mirror = engine.mirror().clone();
    let taken = engine.commit(&[Batch::new(InstanceName::parse("default").unwrap(), vec![Record::Attached])]);
    if taken == [Ok(())] {
        let again = open(&disk.copy());
        assert!(again.mirror().values().any(|durable| durable.attached), "{:?}", again.status());
    }
    for (name, durable) in mirror {
        live(name, durable);
    }
    !status.findings.is_empty()
}

fn open(disk: &Memory) -> Engine<Memory> {
    Engine::open(disk.clone(), &Options::default(), Box::new(|_, _| true)).expect("nothing is a reason not to start")
}

/// The settings of the agent that is born: few, so that what is remembered matters.
fn params() -> &'static Params {
    static PARAMS: OnceLock<Params> = OnceLock::new();
    PARAMS.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("agent.toml");
        let text = "[environment]\nurl = \"http://127.0.0.1:1\"\n[auth]\nclient_id = \"c\"\nclient_secret = \"s\"\n\
            [instance]\nsession_id = \"demo\"\npublic_conn_str = \"192.0.2.9:7777\"\n[game]\nready = \"immediate\"\n";
        std::fs::write(&file, text).unwrap();
        let env = [("STATE_DIRECTORY", "/nowhere/state"), ("RUNTIME_DIRECTORY", "/nowhere/run")];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let loaded = config::load(&Sources { file: Some(file), ..Sources::default() }, &Surroundings { env });
        Params::clone(&loaded.unwrap().settings.instances.remove(0).params)
    })
}

/// A life with a backend that agrees to everything: first an hour or so, then the drain.
fn live(name: InstanceName, durable: Durable) {
    let mut now = clock::now();
    let wall: Timestamp = WALL.parse().unwrap();
    let fresh_id = InstanceId::parse("fresh").unwrap();
    let mut agent = Agent::new(Params { name, ..params().clone() }, Birth { durable, fresh_id, seed: 1, wall }, now);
    let login = AuthView { state: AuthState::Valid, generation: Some(Generation(1)), ..AuthView::default() };
    let mut events = VecDeque::from([Event::Auth(Arc::new(login))]);
    let mut instance = Value::Null;
    for round in 0..60 {
        if round == 40 {
            events.push_back(Event::Command(Command::Drain { reason: "the end".to_owned() }));
        }
        // One answer leads to the next call, but not for ever.
        for _ in 0..50 {
            let Some(event) = events.pop_front() else { break };
            agent.handle_event(event, now);
            while let Some(action) = agent.poll_action() {
                match action {
                    Action::Send { id, call, .. } => {
                        let result = answer(&call, &mut instance, wall);
                        events.push_back(Event::Answered { id, result });
                    }
                    Action::Store { ticket, .. } => events.push_back(Event::Stored { ticket, result: Ok(()) }),
                    Action::Cancel(_)
                    | Action::Reply { .. }
                    | Action::TokenRejected(_)
                    | Action::Learnt { .. }
                    | Action::Game(_)
                    | Action::HandOver(_)
                    | Action::Note(_)
                    | Action::Exit(_) => {}
                }
            }
        }
        let shown = agent.snapshot();
        assert!(!format!("{shown:?}").is_empty());
        if agent.is_over() {
            return;
        }
        now = agent.poll_timeout().map_or(now + LIMIT, |due| due.max(now));
        agent.handle_timeout(now);
    }
}

fn answer(call: &Call, instance: &mut Value, wall: Timestamp) -> Result<Answer, Failure> {
    let body = match call {
        Call::FindSession { .. } | Call::ReadSession { .. } => json!({"session_id": "demo", "instance": instance}),
        Call::Register { registration, .. } => {
            *instance = json!({"instance_id": registration.instance_id.as_str(), "join_status": "pending"});
            instance.clone()
        }
        Call::Update { .. } => instance.clone(),
        Call::Unregister { .. } => std::mem::take(instance),
        Call::HealthConfig => json!({"cadence_seconds": 10}),
        Call::PostHealth { .. } => json!({"updated_instance_health": "healthy"}),
        Call::CreateSession { .. }
        | Call::SicRegister { .. }
        | Call::SicState { .. }
        | Call::Fubar { .. }
        | Call::PostEvent { .. }
        | Call::Audit { .. }
        | Call::Duty { .. }
        | Call::Poll { .. } => json!({}),
    };
    decode(call, &Reply { status: 200, body: body.to_string().as_bytes(), ..Reply::default() }, wall)
}

/// A directory in memory that never fails.
#[derive(Debug, Clone, Default)]
struct Memory(Arc<Mutex<Files>>);

type File = Arc<Mutex<Vec<u8>>>;

#[derive(Debug, Default)]
struct Files {
    names: BTreeMap<String, File>,
}

impl Memory {
    fn files(&self) -> MutexGuard<'_, Files> {
        self.0.lock().unwrap()
    }

    /// What another process would find: it has the files to itself.
    fn copy(&self) -> Self {
        let files = self.files();
        let copied =
            files.names.iter().map(|(name, file)| (name.clone(), File::from(Mutex::new(file.lock().unwrap().clone()))));
        Self(Arc::new(Mutex::new(Files { names: copied.collect() })))
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        self.files().names.get(name).map(|file| file.lock().unwrap().clone()).unwrap_or_default()
    }

    fn file(&self, name: &str) -> io::Result<File> {
        self.files().names.get(name).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for Memory {
    type File = File;

    fn prepare(&mut self) -> Result<(), OpenError> {
        Ok(())
    }

    fn is_there(&self) -> bool {
        true
    }

    fn read(&mut self, name: &str, limit: u64) -> io::Result<Option<Content>> {
        let Ok(file) = self.file(name) else { return Ok(None) };
        let mut bytes = file.lock().unwrap().clone();
        let limit = usize::try_from(limit).unwrap();
        let cut = (bytes.len() > limit).then(|| "longer".to_owned());
        bytes.truncate(limit);
        Ok(Some(Content { bytes, cut }))
    }

    fn exists(&mut self, name: &str) -> bool {
        self.file(name).is_ok()
    }

    fn open(&mut self, name: &str) -> io::Result<File> {
        self.file(name)
    }

    fn create(&mut self, name: &str) -> io::Result<File> {
        let file = File::default();
        self.files().names.insert(name.to_owned(), Arc::clone(&file));
        Ok(file)
    }

    fn write(&mut self, file: &mut File, at: u64, bytes: &[u8]) -> io::Result<usize> {
        let mut file = file.lock().unwrap();
        let at = usize::try_from(at).unwrap();
        let end = file.len().max(at + bytes.len());
        file.resize(end, 0);
        file[at..at + bytes.len()].copy_from_slice(bytes);
        Ok(bytes.len())
    }

    fn length(&mut self, file: &mut File) -> io::Result<u64> {
        Ok(file.lock().unwrap().len() as u64)
    }

    fn truncate(&mut self, file: &mut File, length: u64) -> io::Result<()> {
        file.lock().unwrap().resize(usize::try_from(length).unwrap(), 0);
        Ok(())
    }

    fn reserve(&mut self, _file: &mut File, _at: u64, _length: u64) -> io::Result<()> {
        Ok(())
    }

    fn sync(&mut self, _file: &mut File) -> io::Result<()> {
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.files();
        let file = files.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.names.insert(to.to_owned(), file);
        Ok(())
    }

    fn link(&mut self, from: &str, to: &str) -> io::Result<()> {
        let file = self.file(from)?;
        self.files().names.insert(to.to_owned(), file);
        Ok(())
    }

    fn sync_names(&mut self) -> io::Result<()> {
        Ok(())
    }
}
