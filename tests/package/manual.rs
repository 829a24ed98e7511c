//! Writes what the package carries beside the program: `cargo run --example manual [-- DIRECTORY]`, by default target/manual.
//!
//! The man pages of section 1 and the completions come from the command line itself, the one of section 5 from
//! config/agent.toml. Made at package time, so that the program carries neither them nor what makes them.

#![expect(clippy::print_stderr, reason = "to say what went wrong is all it has to say")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io};

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};
use rallyhere_agent::cli;
use rallyhere_agent::exit::Exit;

const NAME: &str = "rallyhere-agent";
const MANUAL: &str = "RallyHere agent";
/// The pages have none: the same sources make the same pages. Not quite empty, or troff takes the next field for it.
const DATE: &str = " ";
const SETTINGS: &str = include_str!("../../config/agent.toml");

/// How the program may end.
const EXITS: [(Exit, &str); 7] = [
    (Exit::Done, "Done, stopped on command, or ended with its instance."),
    (Exit::Failure, "An unexpected failure; the last line of the log says which."),
    (Exit::Usage, "A wrong command line."),
    (Exit::Locked, "Another agent has the state directory."),
    (Exit::Superseded, "Superseded: somebody else holds the session or the allocation. A restart does not help."),
    (Exit::Config, "A wrong configuration; every mistake is named. A restart does not help."),
    (Exit::Left, "Left on SIGUSR2: the instance is as it was, and the next agent goes on with it."),
];

/// What else the command line does not know of itself: a heading, then what is named with what it means.
const MORE: &[(&str, &[(&str, &str)])] = &[
    (
        "SIGNALS",
        &[
            (
                "SIGTERM, SIGINT",
                "The instance is closed, players may finish, then the agent ends. A second one ends it at once.",
            ),
            ("SIGHUP", "Secret files and log.level are read again."),
            (
                "SIGUSR2",
                "The agent ends at once and leaves the instance to the next one. Not where it has started the game itself.",
            ),
            (
                "SIGKILL",
                "Loses nothing: everything that was accepted is on disk, and the next start goes on from there. This is how \
                 the package brings a new version to an agent that is hosting a match.",
            ),
        ],
    ),
    (
        "ENVIRONMENT",
        &[
            ("RALLYHERE_AGENT_SECTION__KEY", "A key of the configuration, over what the files say."),
            ("RALLYHERE_AGENT_TOKEN", "For --url: the token of local_api.token_file."),
            ("CREDENTIALS_DIRECTORY", "Where the secrets are: client-secret, password, access-token. Set by systemd."),
            ("RUNTIME_DIRECTORY, XDG_RUNTIME_DIR", "Where the socket is, unless local_api.socket says so."),
            ("STATE_DIRECTORY, XDG_STATE_HOME", "Where the state is, unless state.dir says so."),
            ("NOTIFY_SOCKET, WATCHDOG_USEC", "The service manager, as in sd_notify(3)."),
        ],
    ),
    (
        "FILES",
        &[
            ("/etc/rallyhere-agent/agent.toml, agent.d/*.toml", "The configuration: rallyhere-agent.toml(5)."),
            ("/etc/rallyhere-agent/NAME.toml", "The configuration of rallyhere-agent@NAME.service."),
            (
                "/etc/rallyhere-agent/client-secret, password, access-token",
                "The secrets, which systemd hands to the service (LoadCredential=).",
            ),
            ("/run/rallyhere-agent/agent.sock", "The local API, for members of the group rallyhere-agent."),
            ("/var/lib/rallyhere-agent", "What outlives the process. For the agent alone."),
            ("/usr/share/doc/rallyhere-agent/examples", "Whole configurations, and drop-ins for the unit."),
        ],
    ),
];

fn main() -> ExitCode {
    let out = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("target/manual"), PathBuf::from);
    match write(&out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the manual could not be written to {}: {error}", out.display());
            ExitCode::FAILURE
        }
    }
}

fn write(out: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(out)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut visible(&cli::command()), NAME, out)?;
    }
    // `rallyhere-agent help` needs no page.
    let mut command = visible(&cli::command()).disable_help_subcommand(true);
    command.build();
    fs::write(out.join(format!("{NAME}.1")), program(&command)?)?;
    for one in command.get_subcommands() {
        let page = format!("{NAME}-{}", one.get_name());
        fs::write(out.join(format!("{page}.1")), subcommand(&page, one)?)?;
    }
    fs::write(out.join(format!("{NAME}.toml.5")), settings()?)?;
    Ok(())
}

/// The command without what is not for people.
fn visible(command: &Command) -> Command {
    let shown = command.get_subcommands().filter(|one| !one.is_hide_set()).cloned();
    Command::new(NAME)
        .version(env!("CARGO_PKG_VERSION"))
        .about(command.get_about().cloned().unwrap_or_default())
        .subcommand_required(true)
        .subcommands(shown)
}

/// rallyhere-agent(1)
fn program(command: &Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let man = Man::new(command.clone()).date(DATE).manual(MANUAL);
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    man.render_subcommands_section(&mut page)?;
    let mut more = Roff::new();
    more.control("SH", ["EXIT STATUS"]);
    for (exit, words) in EXITS {
        more.control("TP", []).text([bold(exit.code().to_string())]).text([roman(words)]);
    }
    for (heading, rows) in MORE {
        more.control("SH", [*heading]);
        for (name, words) in *rows {
            more.control("TP", []).text([bold(*name)]).text([roman(*words)]);
        }
    }
    see_also(&mut more, &["rallyhere-agent-run(1)", "rallyhere-agent.toml(5)", "systemd.service(5)", "systemctl(1)"]);
    more.to_writer(&mut page)?;
    Ok(page)
}

/// rallyhere-agent-SUBCOMMAND(1)
fn subcommand(page: &str, command: &Command) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    Man::new(command.clone()).title(page).date(DATE).source(source()).manual(MANUAL).render(&mut text)?;
    let mut more = Roff::new();
    see_also(&mut more, &["rallyhere-agent(1)", "rallyhere-agent.toml(5)"]);
    more.to_writer(&mut text)?;
    Ok(text)
}

fn source() -> String {
    format!("{NAME} {}", env!("CARGO_PKG_VERSION"))
}

fn see_also(roff: &mut Roff, pages: &[&str]) {
    roff.control("SH", ["SEE ALSO"]).text([roman(pages.join(", "))]);
}

/// rallyhere-agent.toml(5): config/agent.toml, which a test holds to the code.
fn settings() -> io::Result<Vec<u8>> {
    let mut roff = Roff::new();
    roff.control("TH", [&format!("{NAME}.toml"), "5", DATE, &source(), MANUAL]);
    roff.control("SH", ["NAME"]).text([roman(format!("{NAME}.toml - the configuration of {NAME}"))]);
    roff.control("SH", ["SYNOPSIS"]).text([roman("/etc/rallyhere-agent/agent.toml")]).control("br", []);
    roff.text([roman("/etc/rallyhere-agent/agent.d/*.toml")]).control("br", []);
    roff.text([roman("/etc/rallyhere-agent/NAME.toml, for rallyhere-agent@NAME.service")]);
    roff.control("SH", ["DESCRIPTION"]);
    let mut said: Vec<&str> = Vec::new();
    let mut in_head = true;
    for line in SETTINGS.lines() {
        if let Some(words) = line.strip_prefix('#') {
            said.push(words.strip_prefix(' ').unwrap_or(words));
        } else if line.is_empty() && in_head {
            in_head = false;
            // Its first line says which file it is, and the next is empty.
            paragraphs(&mut roff, said.get(2..).unwrap_or_default(), &[]);
            said.clear();
        } else if line.starts_with('[') {
            roff.control("SH", [line]);
            paragraphs(&mut roff, &said, &[]);
            said.clear();
        } else if let Some((key, default)) = line.split_once(" = ") {
            roff.control("TP", []);
            paragraphs(&mut roff, &said, &[bold(key), roman(" = "), italic(default)]);
            said.clear();
        }
    }
    see_also(&mut roff, &["rallyhere-agent(1)", "rallyhere-agent-check(1)"]);
    let mut page = Vec::new();
    roff.to_writer(&mut page)?;
    Ok(page)
}

/// Comment lines as text: an empty one begins a paragraph, an indented one stands as it is.
fn paragraphs(roff: &mut Roff, lines: &[&str], head: &[Inline]) {
    if !head.is_empty() {
        roff.text(head.to_vec());
    }
    for line in lines {
        if let Some(literal) = line.strip_prefix("    ") {
            roff.control("RS", ["4"]).text([roman(literal)]).control("RE", []);
        } else if line.is_empty() {
            roff.control("PP", []);
        } else {
            roff.text([roman(*line)]);
        }
    }
}
