//! `hexpop chaos check`: whether a history of clients' calls can be true.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal as _},
    num::{NonZeroU64, NonZeroUsize},
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool, mpsc},
    thread,
    time::Duration,
};

use clap::Args;
use flate2::bufread::MultiGzDecoder;
use hexpop_chaos::history::{
    FormatError, Options, Recording, Report, Role, Verdict, Violation, check, read,
};
use serde::Serialize;

use super::super::{
    error::{CliError, CliResult},
    mesh::parse_duration,
    output::{Format, OutputArgs, grouped, print, print_json},
};

/// Undecided keys that are listed in a table.
const LISTED_MAX: usize = 10;

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// A history in JSON lines (`hexpop.history/1`); `-` is stdin, `.gz` is read as such.
    file: PathBuf,
    /// States looked at for one key; beyond that it stays undecided. A million take some 100 MB.
    #[arg(long, default_value = "2000000", value_name = "N")]
    max_states: NonZeroU64,
    /// What is not decided by then stays undecided.
    #[arg(long, default_value = "5m", value_name = "TIME", value_parser = parse_duration)]
    timeout: Duration,
    /// Keys checked at once. Without it: as many as there are cores.
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Violations that are explained; the others are only counted.
    #[arg(long, default_value_t = 10, value_name = "N")]
    explain: usize,
}

pub(super) fn run(args: &CheckArgs, output: OutputArgs) -> CliResult {
    let recording = open(&args.file)?;
    if recording.is_cut {
        note("the last line is cut off and was left out");
    }
    let cores = || thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let options = Options {
        states_max: args.max_states.get(),
        threads: args.threads.map_or_else(cores, NonZeroUsize::get),
        explained_max: args.explain,
    };
    let report = check_within(args.timeout, &recording, &options)?;
    match output.output {
        Format::Json => print_json(&ReportJson::of(&report, &recording))?,
        Format::Table => print(&table(&report))?,
    }
    conclude(&report)
}

/// Checks until `timeout` is over.
fn check_within(timeout: Duration, recording: &Recording, options: &Options) -> CliResult<Report> {
    let stop = Arc::new(AtomicBool::new(false));
    let (done, is_done) = mpsc::channel::<()>();
    let flag = Arc::clone(&stop);
    let watch = thread::Builder::new()
        .name("check-timeout".to_owned())
        .spawn(move || {
            if is_done.recv_timeout(timeout) == Err(mpsc::RecvTimeoutError::Timeout) {
                flag.store(true, std::sync::atomic::Ordering::Relaxed);
            }
        })
        .map_err(|error| CliError::failed("the check cannot start").caused_by(&error))?;
    let report = check(&recording.history, options, &stop);
    drop(done);
    let _watched = watch.join();
    Ok(report)
}

fn open(path: &Path) -> CliResult<Recording> {
    let named = path.display();
    let source: Box<dyn BufRead> = if path == Path::new("-") {
        if io::stdin().is_terminal() {
            return Err(CliError::usage("`-` reads a history from stdin, but that is a terminal")
                .help("pipe one in, or name a file"));
        }
        Box::new(io::stdin().lock())
    } else {
        let file = File::open(path).map_err(|error| {
            CliError::usage(format!("cannot open the history {named}"))
                .caused_by(&error)
                .help("record one: hexpop bench run sessions --history FILE")
        })?;
        let file = BufReader::new(file);
        if path.extension().is_some_and(|extension| extension == "gz") {
            Box::new(BufReader::new(MultiGzDecoder::new(file)))
        } else {
            Box::new(file)
        }
    };
    read(source).map_err(|error| {
        let help = match &error {
            FormatError::Schema { found } if found.starts_with("hexpop.bench.history/") => {
                "it was recorded by an earlier version; record it again"
            }
            FormatError::Schema { .. } | FormatError::Empty => {
                "the format is described at hexpop_chaos::history (cargo doc -p hexpop-chaos)"
            }
            FormatError::Read(_) => "check that it is a readable file, and whole if it is a .gz",
            FormatError::Line { .. } => {
                "correct the line; the format is described at hexpop_chaos::history"
            }
            FormatError::TooLong { .. } => "split it by `key` and check each part alone",
        };
        CliError::usage(format!("{named} is not a history")).caused_by(&error).help(help)
    })
}

/// What was found, for programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ReportJson<'a> {
    schema: &'static str,
    verdict: &'static str,
    operations: usize,
    keys: usize,
    held: usize,
    violated: usize,
    undecided: Vec<KeyJson<'a>>,
    states: u64,
    /// Whether the last line was cut off and left out.
    cut: bool,
    violations: Vec<ViolationJson<'a>>,
}

#[derive(Debug, Serialize)]
struct KeyJson<'a> {
    space: &'static str,
    key: &'a str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ViolationJson<'a> {
    #[serde(flatten)]
    key: KeyJson<'a>,
    kind: &'static str,
    meaning: &'static str,
    /// Lines of the file that cannot all be true.
    contradict: Vec<usize>,
    /// Lines of the writes of what they saw.
    origins: Vec<usize>,
    /// Other writes of the key, which explain nothing.
    others: usize,
}

impl<'a> ReportJson<'a> {
    fn of(report: &'a Report, recording: &Recording) -> Self {
        Self {
            schema: "hexpop.chaos.check/1",
            verdict: report.verdict().as_str(),
            operations: report.operations,
            keys: report.keys,
            held: report.held,
            violated: report.violated,
            undecided: report
                .undecided
                .iter()
                .map(|(space, key)| KeyJson { space: space.as_str(), key })
                .collect(),
            states: report.states,
            cut: recording.is_cut,
            violations: report.violations.iter().map(ViolationJson::of).collect(),
        }
    }
}

impl<'a> ViolationJson<'a> {
    fn of(violation: &'a Violation) -> Self {
        let lines = |role: Role| {
            let of_role = violation.witness.iter().filter(|one| one.role == role);
            of_role.map(|one| one.line()).collect()
        };
        Self {
            key: KeyJson { space: violation.space.as_str(), key: &violation.key },
            kind: violation.kind.as_str(),
            meaning: violation.kind.meaning(),
            contradict: lines(Role::Contradicts),
            origins: lines(Role::Origin),
            others: violation.others,
        }
    }
}

fn table(report: &Report) -> String {
    let count = |number: usize| grouped(u64::try_from(number).unwrap_or(u64::MAX));
    let mut text = format!(
        "{} operations on {} keys: {} hold, {} violated, {} undecided; {} states\n",
        count(report.operations),
        count(report.keys),
        count(report.held),
        count(report.violated),
        count(report.undecided.len()),
        grouped(report.states),
    );
    for violation in &report.violations {
        text.push_str(&format!("\n{violation}"));
    }
    let hidden = report.violated - report.violations.len();
    if hidden > 0 {
        text.push_str(&format!("\n{} more violated keys; see --explain\n", count(hidden)));
    }
    for (space, key) in report.undecided.iter().take(LISTED_MAX) {
        text.push_str(&format!("undecided: {} {key}\n", space.as_str()));
    }
    let hidden = report.undecided.len().saturating_sub(LISTED_MAX);
    if hidden > 0 {
        text.push_str(&format!("{} more are undecided; see --output json\n", count(hidden)));
    }
    text
}

fn conclude(report: &Report) -> CliResult {
    match report.verdict() {
        Verdict::Holds => Ok(()),
        Verdict::Violated => {
            Err(CliError::missed(format!("{} of {} keys violated", report.violated, report.keys)))
        }
        Verdict::Undecided => Err(CliError::failed(format!(
            "{} of {} keys could not be decided",
            report.undecided.len(),
            report.keys
        ))
        .help("raise --max-states or --timeout")),
    }
}

/// A line on stderr.
#[expect(clippy::print_stderr, reason = "remarks of a command belong on stderr")]
fn note(text: &str) {
    eprintln!("{text}");
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const HEAD: &str = r#"{"schema":"hexpop.history/1"}"#;
    const PUT: &str =
        r#"{"kind":"put","startUs":0,"endUs":9,"key":"it-lazio.s","value":1,"outcome":"ok"}"#;
    const LOST: &str =
        r#"{"kind":"read","startUs":10,"endUs":19,"key":"it-lazio.s","outcome":"not-found"}"#;

    fn file(lines: &[&str]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(lines.join("\n").as_bytes()).unwrap();
        file
    }

    /// The exit code, and what is said on stderr.
    fn checked(path: &Path) -> (u8, String) {
        let args = CheckArgs {
            file: path.to_owned(),
            max_states: NonZeroU64::MAX,
            timeout: Duration::from_secs(60),
            threads: None,
            explain: 10,
        };
        let output = OutputArgs { output: Format::Json, no_header: false };
        run(&args, output)
            .map_or_else(|error| (error.exit(), error.to_string()), |()| (0, String::new()))
    }

    #[test]
    fn the_exit_code_is_the_verdict() {
        assert_eq!(checked(file(&[HEAD, PUT]).path()), (0, String::new()));
        let (code, text) = checked(file(&[HEAD, PUT, LOST]).path());
        assert_eq!(code, 3, "{text}");
        let (code, text) = checked(Path::new("no such file"));
        assert!(code == 2 && text.contains("help: record one"), "{text}");
        let (code, text) = checked(file(&[HEAD, PUT, "{}", LOST]).path());
        assert!(code == 2 && text.contains("line 3: "), "{text}");
        let old = r#"{"schema":"hexpop.bench.history/1"}"#;
        let (code, text) = checked(file(&[old]).path());
        assert!(code == 2 && text.contains("record it again"), "{text}");
    }

    #[test]
    fn what_is_undecided_is_said() {
        let report = Report {
            operations: 1,
            keys: 20,
            held: 0,
            violated: 0,
            undecided: vec![(hexpop_chaos::history::Space::Session, "k".to_owned()); 20],
            states: 5,
            violations: Vec::new(),
        };
        assert_eq!(conclude(&report).unwrap_err().exit(), 1);
        let text = table(&report);
        assert_eq!(text.matches("undecided: session k").count(), LISTED_MAX, "{text}");
        assert!(text.contains("10 more are undecided"), "{text}");
    }

    #[test]
    fn a_violation_is_told_with_its_lines() {
        let recording = read(format!("{HEAD}\n{PUT}\n{LOST}\n").as_bytes()).unwrap();
        let report =
            check_within(Duration::from_secs(60), &recording, &Options::default()).unwrap();
        let text = table(&report);
        assert!(text.starts_with("2 operations on 1 keys: 0 hold, 1 violated"), "{text}");
        assert!(text.contains("it-lazio.s: lost-write") && text.contains("line 3"), "{text}");
        let json = serde_json::to_value(ReportJson::of(&report, &recording)).unwrap();
        assert_eq!(json["verdict"], "violated");
        assert_eq!(json["violations"][0]["contradict"], serde_json::json!([2, 3]));
        assert_eq!(json["violations"][0]["key"], "it-lazio.s");
    }

    /// Two crates that cannot import each other write and read one format.
    #[test]
    fn what_the_load_generator_records_can_be_checked() {
        use hexpop_bench::{History, HistoryHead, Kind, Known, Ledger, Record};

        let file = tempfile::NamedTempFile::new().unwrap();
        let head = HistoryHead {
            schema: HistoryHead::SCHEMA.to_owned(),
            started_at: "2026-01-01T00:00:00Z".to_owned(),
            ttl_ms: 60_000,
        };
        let history = History::begin(Box::new(file.reopen().unwrap()), &head).unwrap();
        let call = |kind, start_us, value, outcome| Record {
            kind,
            client: 3,
            start_us,
            end_us: start_us + 5,
            key: "it-lazio.s".to_owned(),
            value,
            outcome,
            if_match: None,
            version: (outcome == Known::Ok).then(|| "17-3-1".to_owned()),
            created: (kind == Kind::Put && outcome == Known::Ok).then_some(true),
        };
        for record in [
            call(Kind::Read, 0, None, Known::NotFound),
            call(Kind::Put, 10, Some(1), Known::Ok),
            call(Kind::Put, 20, Some(2), Known::Unknown),
            call(Kind::Put, 30, Some(3), Known::Refused),
            call(Kind::Read, 40, None, Known::Unknown),
            call(Kind::Read, 50, Some(1), Known::Ok),
        ] {
            history.record(&record);
        }
        history.finish().unwrap();
        let text = std::fs::read(file.path()).unwrap();
        let recording = read(text.as_slice()).unwrap();
        assert_eq!(recording.history.operations.len(), 6);
        assert_eq!(recording.history.head.ttl_ms, Some(60_000));
        assert_eq!(checked(file.path()), (0, String::new()));
        assert_eq!(Ledger::read(text.as_slice()).unwrap().acknowledged(), 1);
    }

    #[test]
    fn compressed_files_are_read() {
        let mut path = tempfile::Builder::new().suffix(".gz").tempfile().unwrap();
        let mut encoder = flate2::write::GzEncoder::new(&mut path, flate2::Compression::default());
        write!(encoder, "{HEAD}\n{PUT}\n{LOST}\n").unwrap();
        encoder.finish().unwrap();
        assert_eq!(checked(path.path()).0, 3);
    }
}
