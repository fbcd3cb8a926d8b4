//! Files: what is written can be read, and nonsense is named.

use super::{
    random::{Dice, Shape, make},
    *,
};
use crate::history::format as file;

fn reread(history: &History) -> Recording {
    let mut bytes = Vec::new();
    file::write(history, &mut bytes).unwrap();
    file::read(bytes.as_slice()).unwrap()
}

#[test]
fn what_is_written_is_read() {
    for seed in 0..500 {
        let mut dice = Dice(seed);
        let shape = Shape {
            operations: 6,
            mortal: true,
            tokens: true,
            positions: true,
            slack: seed % 2 == 0,
        };
        let history = make(&mut dice, shape);
        assert_eq!(reread(&history), Recording { history, is_cut: false });
    }
    let head = Head {
        started_at: Some("2026-01-01T00:00:00Z".into()),
        ttl_ms: Some(5),
        clock_bound_ms: 7,
        expiry_slack_ms: Some(9),
        initial: Initial::Unknown,
    };
    let bounded = Level::Bounded { max_staleness_ms: 4 };
    let operations = vec![
        upsert(0, 1, 5),
        with(upsert(0, 1, 4), Outcome::Conflict),
        bury(2, 3, 6),
        look(4, 5, bounded, Some(5)),
        look(4, 5, Level::Strong, None),
        lost(look(4, 5, Level::Eventual, None)),
        op(6, 7, Action::EraseUser { user: "u".into() }),
        op(6, 7, Action::Delete { key: key(), condition: Some(Condition::Exists) }),
        with(put(6, 7, "x"), Outcome::Refused),
        with(create(6, 7, "\u{1f3e0}\n"), Outcome::Conflict),
    ];
    let history = History { head, operations };
    assert_eq!(reread(&history), Recording { history, is_cut: false });
}

const HEAD: &str = r#"{"schema":"hexpop.history/1"}"#;
const GET: &str = r#"{"kind":"read","startUs":1,"endUs":2,"key":"k","outcome":"not-found"}"#;

#[test]
fn little_is_required() {
    let text = format!(
        "{HEAD}\n{GET}\n{}\n{}\r\n{}",
        r#"{"outcome":"ok","value":7,"kind":"put","key":"k","startUs":3,"endUs":3,"version":null,"note":[1]}"#,
        r#"{"kind":"listing-read","startUs":1,"key":"k","outcome":"unknown"}"#,
        r#"{"kind":"read","startUs":4,"endUs":5,"key":"k","outcome":"ok","value":"7"}"#,
    );
    let recording = file::read(text.as_bytes()).unwrap();
    assert!(!recording.is_cut, "the last line lacks only its end");
    assert_eq!(recording.history.head, Head::default());
    let actions: Vec<&Action> =
        recording.history.operations.iter().map(|one| &one.action).collect();
    assert_eq!(actions[0], &Action::Read { key: "k".into(), level: Level::Strong });
    assert_eq!(actions[1], &Action::Put { key: "k".into(), write: write("7"), condition: None });
    assert_eq!(actions[2], &Action::ListingRead { key: "k".into(), level: Level::Eventual });
    assert_eq!(checked(&recording.history).verdict(), Verdict::Holds);
}

#[test]
fn a_cut_last_line_is_left_out() {
    let recording = file::read(format!("{HEAD}\n{GET}\n{}", &GET[..30]).as_bytes()).unwrap();
    assert_eq!((recording.history.operations.len(), recording.is_cut), (1, true));
    assert!(file::read(format!("{HEAD}\n{}\n{GET}", &GET[..30]).as_bytes()).is_err());
    assert_eq!(file::read(HEAD.as_bytes()).unwrap().history.operations, []);
}

/// What is said of a file whose second line is the right one, changed.
fn complaint(from: &str, to: &str) -> String {
    let line = GET.replace(from, to);
    assert_ne!(line, GET);
    file::read(format!("{HEAD}\n{GET}\n{line}\n").as_bytes()).unwrap_err().to_string()
}

#[test]
fn nonsense_is_named_by_line_and_field() {
    for (from, to, field) in [
        (r#""startUs":1"#, r#""startUs":-1"#, "startUs"),
        (r#""startUs":1"#, r#""startUs":1.5"#, "startUs"),
        (r#""startUs":1,"#, "", "startUs"),
        (r#""startUs":1"#, r#""startUs":3"#, "endUs"),
        (r#""endUs":2,"#, "", "endUs"),
        (r#""key":"k","#, "", "key"),
        (r#""key":"k""#, r#""key":7"#, "key"),
        (r#""key":"k""#, r#""key":"k","keey":"k""#, "keey"),
        (r#""key":"k""#, r#""key":"k","key":"k""#, "key"),
        (r#""key":"k""#, r#""key":"k","value":1"#, "value"),
        (r#""key":"k""#, r#""key":"k","ifMatch":"1""#, "ifMatch"),
        (r#""key":"k""#, r#""key":"k","ttlMs":1"#, "ttlMs"),
        (r#""key":"k""#, r#""key":"k","user":"u""#, "user"),
        (r#""key":"k""#, r#""key":"k","level":"bounded""#, "maxStalenessMs"),
        (r#""key":"k""#, r#""key":"k","maxStalenessMs":5"#, "maxStalenessMs"),
        (r#""key":"k""#, r#""key":"k","level":"weak""#, "level"),
        (r#""key":"k""#, r#""key":"k","client":-3"#, "client"),
        (r#""key":"k""#, r#""key":"k","position":{"shard":1}"#, "position"),
        (r#""kind":"read""#, r#""kind":"get""#, "kind"),
        (r#""kind":"read""#, r#""kind":"create","value":1"#, "outcome"),
        (r#""kind":"read""#, r#""kind":"erase-user""#, "key"),
        (
            GET,
            r#"{"kind":"listing-read","startUs":1,"endUs":2,"key":"k","outcome":"ok","version":"x"}"#,
            "version",
        ),
        (
            GET,
            r#"{"kind":"listing-delete","startUs":1,"endUs":2,"key":"k","outcome":"ok"}"#,
            "version",
        ),
        (r#""kind":"read""#, r#""kind":"put""#, "outcome"),
        (r#""not-found""#, r#""conflict""#, "outcome"),
        (r#""not-found""#, r#""lost""#, "outcome"),
        (r#""not-found""#, r#""unknown","token":"t""#, "token"),
    ] {
        let text = complaint(from, to);
        assert!(text.starts_with("line 3: "), "{text}");
        assert!(text.contains(&format!("`{field}")), "{field}: {text}");
    }
    let twice = complaint("}", "}}");
    assert!(twice.contains("line 3: there is more"), "{twice}");
}

#[test]
fn what_is_no_history_is_said() {
    assert!(matches!(file::read(&b""[..]), Err(FormatError::Empty)));
    let other = r#"{"schema":"hexpop.bench.history/1","startedAt":"x","ttlSeconds":60}"#;
    let error = file::read(other.as_bytes()).unwrap_err();
    assert!(matches!(&error, FormatError::Schema { found } if found == "hexpop.bench.history/1"));
    for head in ["x", "{}", "[]", r#"{"schema":"hexpop.history/1","ttl":5}"#, "\u{feff}{}"] {
        let error = file::read(head.as_bytes()).unwrap_err();
        assert!(matches!(error, FormatError::Line { line: 1, .. }), "{error}");
    }
    let long = format!("{HEAD}\n{}\n", " ".repeat(1 << 21));
    assert!(matches!(file::read(long.as_bytes()), Err(FormatError::Line { line: 2, .. })));
    assert!(file::read(&[0xff, 0xfe, b'\n'][..]).is_err());
}
