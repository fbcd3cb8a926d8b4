//! The write-ahead log of a node beside redb, fjall and a bare loop of write and `fdatasync`, in one
//! run on one disk: appends a second and how long they take, opening after a kill, and what the disk
//! holds while entries come and go.
//!
//! `cargo bench -p hexpop-bench --bench log_store`; `-- --help` lists what there is to choose. Under
//! `cargo test` it is only seen that every store gives back what it said was durable.
//!
//! redb and fjall have no group commit of their own for writers that wait, so a thread makes one
//! durable transaction of all that has queued up: what our log does. Their keys are (group, index).

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark fails by panicking")]
#![expect(clippy::cast_possible_truncation, reason = "the numbers of a benchmark are small")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "data and progress")]

mod check;
mod churn;
#[path = "../shared/clock.rs"]
mod clock;
mod committer;
mod in_fjall;
mod in_redb;
mod options;
mod ours;
mod rates;
#[path = "../shared/raw.rs"]
mod raw;
mod recovery;
#[path = "../shared/spread.rs"]
mod spread;
mod store;
mod table;
#[path = "../shared/text.rs"]
mod text;

use std::{path::Path, process::ExitCode, time::Duration};

use self::{
    churn::Churn,
    in_fjall::InFjall,
    in_redb::InRedb,
    options::{Options, USAGE},
    ours::Ours,
    rates::Rate,
    recovery::Recovery,
    store::Store,
    table::{Named, RateLine},
};

/// As in the server.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let folder = tempfile::tempdir_in(&options.dir).unwrap();
    let dir = folder.path();
    check::gives_back::<Ours>(dir);
    check::gives_back::<InRedb>(dir);
    check::gives_back::<InFjall>(dir);
    if options.check_only {
        return ExitCode::SUCCESS;
    }
    if options.rates {
        print!("{}", table::rates(&rates(dir, &options)));
    }
    if options.recovery {
        let bytes = options.recovery_mib << 20;
        let named: [Named<Recovery>; 3] = [
            (<Ours>::NAME, recovery::run::<Ours>(dir, bytes)),
            (InRedb::NAME, recovery::run::<InRedb>(dir, bytes)),
            (InFjall::NAME, recovery::run::<InFjall>(dir, bytes)),
        ];
        print!("{}", table::recovery(options.recovery_mib, &named));
    }
    if options.churn {
        let bytes = options.churn_mib << 20;
        let named: [Named<Churn>; 3] = [
            (<Ours>::NAME, churn::run::<Ours>(dir, bytes)),
            (InRedb::NAME, churn::run::<InRedb>(dir, bytes)),
            (InFjall::NAME, churn::run::<InFjall>(dir, bytes)),
        ];
        print!("{}", table::churn(&named));
    }
    ExitCode::SUCCESS
}

fn rates(dir: &Path, options: &Options) -> Vec<RateLine> {
    let duration = Duration::from_secs_f64(options.seconds);
    let mut lines = Vec::new();
    for &entry_bytes in &options.entry_bytes {
        for &writers in &options.writers {
            eprintln!("{entry_bytes} B, {writers} writers");
            let raw = |prepared| raw::run(dir, writers as usize, entry_bytes, prepared, duration);
            lines.push(RateLine {
                writers,
                entry_bytes,
                raw: raw(true),
                raw_growing: raw(false),
                stores: vec![
                    rate::<Ours>(dir, options, writers, entry_bytes),
                    rate::<Ours<false>>(dir, options, writers, entry_bytes),
                    rate::<InRedb>(dir, options, writers, entry_bytes),
                    rate::<InFjall>(dir, options, writers, entry_bytes),
                ],
            });
        }
    }
    lines
}

fn rate<S: Store>(dir: &Path, options: &Options, writers: u64, entry_bytes: usize) -> Named<Rate> {
    let duration = Duration::from_secs_f64(options.seconds);
    (S::NAME, rates::run::<S>(dir, options.groups, writers, entry_bytes, duration))
}
