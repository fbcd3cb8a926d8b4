//! How fast histories are checked: sessions under load from concurrent clients, with reads of all
//! levels and calls that time out. Histories are made by a register that behaves.
//!
//! `cargo bench -p hexpop-chaos --bench history` prints a table; `cargo test` runs it on a small one.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a program for developers")]

use std::{sync::atomic::AtomicBool, time::Instant};

use hexpop_chaos::history::{
    Action, Answer, Condition, Head, History, Level, Operation, Options, Outcome, Verdict, Write,
    check, read, write,
};

/// `SplitMix64`.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ word >> 31) % end
    }
}

/// How a history is made.
#[derive(Clone, Copy)]
struct Shape {
    name: &'static str,
    operations: u64,
    keys: u64,
    clients: u64,
    /// One operation in so many is never answered.
    lost_one_in: u64,
    /// One read in so many is eventual.
    weak_one_in: u64,
}

/// What a key holds, and the value and time of every change so far.
#[derive(Default, Clone)]
struct Key {
    versions: Vec<(u64, u64)>,
}

/// Each client calls one after the other; a call takes effect somewhere between its begin and its end.
fn make(shape: Shape) -> History {
    let mut dice = Dice(7);
    let mut free_at = vec![0; usize::try_from(shape.clients).unwrap()];
    // The moments at which calls take effect, in order.
    let mut calls: Vec<(u64, u64, u64, u64, u64)> = (0..shape.operations)
        .map(|number| {
            let client = number % shape.clients;
            let free = &mut free_at[usize::try_from(client).unwrap()];
            let start = *free + dice.below(200);
            let end = start + 500 + dice.below(4_500);
            *free = end + 1;
            (start + dice.below(end - start), number, client, start, end)
        })
        .collect();
    calls.sort_unstable();
    let mut keys = vec![Key::default(); usize::try_from(shape.keys).unwrap()];
    let operations = calls
        .into_iter()
        .map(|(moment, number, client, start_us, end_us)| {
            let place = dice.below(shape.keys);
            let key = &mut keys[usize::try_from(place).unwrap()];
            let name = format!("it-lazio.{place}");
            let now = key.versions.last().copied();
            let lost = dice.below(shape.lost_one_in) == 0;
            let mut answer = Answer::default();
            let mut outcome = Outcome::Ok;
            let action = if dice.below(2) == 0 {
                let weak = dice.below(shape.weak_one_in) == 0;
                let back = if weak { moment.saturating_sub(dice.below(50_000)) } else { moment };
                let seen = key.versions.iter().rev().find(|(_value, at)| *at <= back);
                match seen {
                    Some((value, _at)) => answer.value = Some(value.to_string()),
                    None => outcome = Outcome::NotFound,
                }
                answer.version = seen.map(|(value, _at)| format!("1-1-{value}"));
                Action::Read {
                    key: name,
                    level: if weak { Level::Eventual } else { Level::Strong },
                }
            } else {
                let write = Write { value: number.to_string(), ..Write::default() };
                let condition = (dice.below(3) == 0).then(|| {
                    Condition::Version(format!("1-1-{}", now.map_or(0, |(value, _)| value)))
                });
                // Of those that are lost, every other one takes effect.
                let happens =
                    (condition.is_none() || now.is_some()) && (!lost || dice.below(2) == 0);
                if happens {
                    key.versions.push((number, moment));
                    answer.version = Some(format!("1-1-{number}"));
                } else if condition.is_some() {
                    outcome = Outcome::Conflict;
                }
                Action::Put { key: name, write, condition }
            };
            let (outcome, answer, end_us) = match lost {
                true => (Outcome::Unknown, Answer::default(), None),
                false => (outcome, answer, Some(end_us)),
            };
            let client = client.to_string();
            Operation { client, start_us, end_us, action, outcome, sent_token: None, answer }
        })
        .collect();
    History { head: Head::default(), operations }
}

fn main() {
    let measures = std::env::args().any(|argument| argument == "--bench");
    let scale = if measures { 1 } else { 50 };
    let shapes = [
        ("1,000 keys, 16 clients", 100_000, 1_000, 16, 1_000_000, 1_000_000),
        ("the same, 1 % time out", 100_000, 1_000, 16, 100, 1_000_000),
        ("the same, half of the reads eventual", 100_000, 1_000, 16, 100, 2),
        ("10 keys, 16 clients", 100_000, 10, 16, 1_000_000, 1_000_000),
        ("10 keys, 1 % time out", 100_000, 10, 16, 100, 1_000_000),
        ("1 key, 16 clients", 10_000, 1, 16, 1_000_000, 1_000_000),
        ("1 key, half of the reads eventual", 10_000, 1, 16, 1_000_000, 2),
    ];
    println!(
        "{:<38} {:>10} {:>7} {:>10} {:>9} {:>12}",
        "history", "operations", "threads", "seconds", "states", "operations/s"
    );
    for (name, operations, keys, clients, lost_one_in, weak_one_in) in shapes {
        let operations = operations / scale;
        let shape = Shape { name, operations, keys, clients, lost_one_in, weak_one_in };
        let history = make(shape);
        for threads in [1, 2] {
            measure(shape, &history, threads);
        }
    }
    let history = make(Shape {
        name: "",
        operations: 100_000 / scale,
        keys: 1_000,
        clients: 16,
        lost_one_in: 100,
        weak_one_in: 2,
    });
    let mut file = Vec::new();
    write(&history, &mut file).unwrap();
    let begin = Instant::now();
    let recording = read(file.as_slice()).unwrap();
    println!("reading {} bytes: {:.3} s", file.len(), begin.elapsed().as_secs_f64());
    assert_eq!(recording.history, history);
}

fn measure(shape: Shape, history: &History, threads: usize) {
    let options = Options { threads, ..Options::default() };
    let begin = Instant::now();
    let report = check(history, &options, &AtomicBool::new(false));
    let seconds = begin.elapsed().as_secs_f64();
    let told: Vec<String> = report.violations.iter().map(ToString::to_string).collect();
    assert_ne!(report.verdict(), Verdict::Violated, "{}: {}", shape.name, told.join("\n"));
    let undecided = report.undecided.len();
    println!(
        "{:<38} {:>10} {threads:>7} {seconds:>10.3} {:>9} {:>12.0}{}",
        shape.name,
        report.operations,
        report.states,
        shape.operations as f64 / seconds,
        if undecided > 0 { format!("  {undecided} keys undecided") } else { String::new() }
    );
}
