//! Misbehaviour on demand, so that what the mesh does about a sick origin can be seen.

use std::{str::FromStr, time::Duration};

use hexpop_bench::dataset::Rng;
use hexpop_edge_config::{ConfigDuration, ParseUnitError};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// The longest delay a fault may add.
const SLOW_MAX: Duration = Duration::from_secs(600);
/// The longest path prefix a fault may name, in bytes.
const PREFIX_BYTES_MAX: usize = 256;

/// One fault as on the command line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// Every answer waits this long first.
    Slow(Duration),
    /// Connections are closed without an answer.
    Down,
    /// This share of requests is answered with 500.
    Error(f64),
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fault = match text.split_once('=') {
            None if text == "down" => Self::Down,
            Some(("slow", value)) => Self::Slow(delay(value)?),
            Some(("error", value)) => {
                Self::Error(value.parse().map_err(|_invalid| "error takes a share such as 0.1")?)
            }
            _ => return Err("must be slow=DURATION, down, or error=SHARE".to_owned()),
        };
        let mut faults = Faults::default();
        faults.add(fault);
        faults.check()?;
        Ok(fault)
    }
}

/// All faults in force.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "FaultsText", into = "FaultsText")]
pub struct Faults {
    slow: Option<Duration>,
    down: bool,
    error: f64,
    prefix: String,
}

/// The faults as in JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultsText {
    /// Every answer waits this long first, such as `10s`; at most ten minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    slow: Option<String>,
    /// Connections are closed without an answer, and open feeds are cut.
    #[serde(default)]
    down: bool,
    /// The share of requests answered with 500, `0.0..=1.0`.
    #[serde(default)]
    error: f64,
    /// Only paths that begin with this misbehave; empty = all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    prefix: String,
}

impl TryFrom<FaultsText> for Faults {
    type Error = String;

    fn try_from(text: FaultsText) -> Result<Self, String> {
        let slow = text.slow.as_deref().map(delay).transpose()?;
        let faults = Self { slow, down: text.down, error: text.error, prefix: text.prefix };
        faults.check()?;
        Ok(faults)
    }
}

impl From<Faults> for FaultsText {
    fn from(faults: Faults) -> Self {
        let slow = faults.slow.map(|slow| ConfigDuration(slow).to_string());
        Self { slow, down: faults.down, error: faults.error, prefix: faults.prefix }
    }
}

fn delay(text: &str) -> Result<Duration, String> {
    let delay: ConfigDuration = text.parse().map_err(|error: ParseUnitError| error.to_string())?;
    Ok(delay.0)
}

impl Faults {
    /// Adds a fault to those in force; the later of two of a kind holds.
    pub fn add(&mut self, fault: Fault) {
        match fault {
            Fault::Slow(delay) => self.slow = Some(delay),
            Fault::Down => self.down = true,
            Fault::Error(share) => self.error = share,
        }
    }

    /// Says which value is out of its range.
    fn check(&self) -> Result<(), String> {
        if self.slow.is_some_and(|slow| slow > SLOW_MAX) {
            return Err(format!("slow must be at most {} s", SLOW_MAX.as_secs()));
        }
        if !(0.0..=1.0).contains(&self.error) {
            return Err("error must be from 0 to 1".to_owned());
        }
        if self.prefix.len() > PREFIX_BYTES_MAX {
            return Err(format!("prefix must be at most {PREFIX_BYTES_MAX} bytes"));
        }
        Ok(())
    }
}

/// What happens to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is answered, after a delay if there is one.
    Answer(Option<Duration>),
    /// It is answered with 500, after a delay if there is one.
    Fail(Option<Duration>),
    /// Its connection is closed.
    Hang,
}

/// Decides what happens to requests. Which ones fail follows from a fixed seed and their order.
#[derive(Debug)]
pub(super) struct FaultSwitch {
    faults: watch::Sender<Faults>,
    rng: Mutex<Rng>,
}

impl FaultSwitch {
    pub(super) fn new(faults: Faults) -> Self {
        Self { faults: watch::Sender::new(faults), rng: Mutex::new(Rng::new(1)) }
    }

    pub(super) fn current(&self) -> Faults {
        self.faults.borrow().clone()
    }

    pub(super) fn set(&self, faults: Faults) {
        tracing::info!(?faults, "origin faults changed");
        self.faults.send_replace(faults);
    }

    pub(super) fn judge(&self, path: &str) -> Verdict {
        let faults = self.faults.borrow();
        if !path.starts_with(&faults.prefix) {
            return Verdict::Answer(None);
        }
        let delay = faults.slow;
        if faults.down {
            Verdict::Hang
        } else if faults.error > 0.0 && self.rng.lock().unit() < faults.error {
            Verdict::Fail(delay)
        } else {
            Verdict::Answer(delay)
        }
    }

    /// Waits until `path` is down. Cancel safe.
    pub(super) async fn until_down(&self, path: &str) {
        let mut faults = self.faults.subscribe();
        let is_down = |faults: &Faults| faults.down && path.starts_with(&faults.prefix);
        let gone = faults.wait_for(is_down).await.is_err();
        if gone {
            // The switch is gone, and with it whoever could throw it.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_from_the_command_line() {
        assert_eq!("down".parse(), Ok(Fault::Down));
        assert_eq!("slow=10s".parse(), Ok(Fault::Slow(Duration::from_secs(10))));
        assert_eq!("error=0.1".parse(), Ok(Fault::Error(0.1)));
        for wrong in ["", "up", "slow", "slow=10", "slow=1h", "error=1.5", "error=NaN", "down=1"] {
            assert!(wrong.parse::<Fault>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_the_named_paths_misbehave() {
        let json = r#"{"down":true,"prefix":"/edge/"}"#;
        let switch = FaultSwitch::new(serde_json::from_str(json).unwrap());
        assert_eq!(switch.judge("/edge/v1/changes"), Verdict::Hang);
        assert_eq!(switch.judge("/it/vendita/milano"), Verdict::Answer(None));
        assert!(serde_json::from_str::<Faults>(r#"{"dwon":true}"#).is_err());
    }

    #[test]
    fn about_the_asked_share_fails() {
        let mut faults = Faults::default();
        faults.add(Fault::Error(0.1));
        let switch = FaultSwitch::new(faults);
        let failed = (0..2_000).filter(|_| switch.judge("/") == Verdict::Fail(None)).count();
        assert!((150..250).contains(&failed), "{failed}");
    }
}
