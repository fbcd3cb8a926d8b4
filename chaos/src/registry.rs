//! All fault rules of one node, and the decision of what happens at a hook.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::rule::{ActiveRule, Effect, Hook, Rule, RuleError, TrafficClass};

/// Rules that may act at once.
const RULES_MAX: usize = 256;

/// What a hook is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Target {
    /// The other node, at a link.
    pub peer: Option<u32>,
    /// The class of traffic, at a link.
    pub class: Option<TrafficClass>,
}

/// Why the rules were not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// Rules that make no sense: the index of each, and what is wrong.
    #[error("{} rules are not valid", .0.len())]
    Invalid(Vec<(usize, Vec<RuleError>)>),
    /// There would be too many.
    #[error("at most {RULES_MAX} rules may be active")]
    TooMany,
}

/// The rules of one node.
#[derive(Debug)]
pub struct Registry {
    /// Whether any rule may be active: the one load that a hook costs otherwise.
    armed: AtomicBool,
    ttl_max: Mutex<Duration>,
    rules: Mutex<Rules>,
}

#[derive(Debug, Default)]
struct Rules {
    next_id: u64,
    active: BTreeMap<u64, State>,
}

#[derive(Debug)]
struct State {
    rule: Rule,
    ends: Instant,
    hits: u64,
    asked: u64,
}

/// What a hook shall do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) effect: Effect,
    pub(crate) delay: Duration,
}

impl Registry {
    /// A registry without rules; none may live longer than `ttl_max`.
    #[must_use]
    pub fn new(ttl_max: Duration) -> Self {
        Self {
            armed: AtomicBool::new(false),
            ttl_max: Mutex::new(ttl_max),
            rules: Mutex::default(),
        }
    }

    /// Lets new and renewed rules live at most `ttl_max` from now on; others end as they would have.
    pub fn set_ttl_max(&self, ttl_max: Duration) {
        *self.ttl_max.lock() = ttl_max;
    }

    fn ttl_max(&self) -> Duration {
        *self.ttl_max.lock()
    }

    /// Adds a rule; answers its number.
    ///
    /// # Errors
    /// [`RegistryError`]; nothing has changed then.
    pub fn add(&self, rule: Rule, now: Instant) -> Result<u64, RegistryError> {
        let ttl = rule
            .check(self.ttl_max())
            .map_err(|errors| RegistryError::Invalid(vec![(0, errors)]))?;
        let mut rules = self.rules.lock();
        rules.expire(now);
        if rules.active.len() >= RULES_MAX {
            return Err(RegistryError::TooMany);
        }
        let id = rules.insert(rule, now + ttl);
        self.armed.store(true, Ordering::Relaxed);
        Ok(id)
    }

    /// Puts these rules in place of all others, in one instant.
    ///
    /// # Errors
    /// [`RegistryError`]; nothing has changed then.
    pub fn replace(&self, new: Vec<Rule>, now: Instant) -> Result<Vec<u64>, RegistryError> {
        if new.len() > RULES_MAX {
            return Err(RegistryError::TooMany);
        }
        let mut invalid = Vec::new();
        let mut checked = Vec::with_capacity(new.len());
        for (index, rule) in new.into_iter().enumerate() {
            match rule.check(self.ttl_max()) {
                Ok(ttl) => checked.push((rule, now + ttl)),
                Err(errors) => invalid.push((index, errors)),
            }
        }
        if !invalid.is_empty() {
            return Err(RegistryError::Invalid(invalid));
        }
        let mut rules = self.rules.lock();
        rules.active.clear();
        let ids = checked.into_iter().map(|(rule, ends)| rules.insert(rule, ends)).collect();
        self.armed.store(!rules.active.is_empty(), Ordering::Relaxed);
        Ok(ids)
    }

    /// Starts a rule's time to live again; whether there is such a rule.
    pub fn renew(&self, id: u64, now: Instant) -> bool {
        let mut rules = self.rules.lock();
        rules.expire(now);
        let Some(state) = rules.active.get_mut(&id) else { return false };
        let Ok(ttl) = state.rule.check(self.ttl_max()) else { return false };
        state.ends = now + ttl;
        true
    }

    /// Removes a rule; whether there was one.
    pub fn remove(&self, id: u64) -> bool {
        let mut rules = self.rules.lock();
        let removed = rules.active.remove(&id).is_some();
        self.armed.store(!rules.active.is_empty(), Ordering::Relaxed);
        removed
    }

    /// Removes all rules; answers how many there were.
    pub fn clear(&self) -> usize {
        let mut rules = self.rules.lock();
        self.armed.store(false, Ordering::Relaxed);
        std::mem::take(&mut rules.active).len()
    }

    /// The active rules, by number.
    pub fn list(&self, now: Instant) -> Vec<ActiveRule> {
        let mut rules = self.rules.lock();
        rules.expire(now);
        self.armed.store(!rules.active.is_empty(), Ordering::Relaxed);
        rules
            .active
            .iter()
            .map(|(id, state)| ActiveRule {
                id: *id,
                rule: state.rule.clone(),
                remaining_ms: u64::try_from(state.ends.duration_since(now).as_millis())
                    .unwrap_or(u64::MAX),
                hits: state.hits,
            })
            .collect()
    }

    /// Whether any rule may be active.
    #[must_use]
    pub fn is_armed(&self) -> bool {
        self.armed.load(Ordering::Relaxed)
    }

    /// What the link hook shall do with a message: `None` = let it pass, else the effect and, for a
    /// delay, how long.
    #[must_use]
    pub fn link(&self, hook: Hook, target: Target, now: Instant) -> Option<(Effect, Duration)> {
        self.decide(hook, target, now).map(|decision| (decision.effect, decision.delay))
    }

    /// The first rule that matches and whose chance hits decides.
    pub(crate) fn decide(&self, hook: Hook, target: Target, now: Instant) -> Option<Decision> {
        if !self.is_armed() {
            return None;
        }
        let mut rules = self.rules.lock();
        rules.active.values_mut().find_map(|state| state.decide(hook, target, now))
    }
}

impl Rules {
    fn insert(&mut self, rule: Rule, ends: Instant) -> u64 {
        self.next_id += 1;
        self.active.insert(self.next_id, State { rule, ends, hits: 0, asked: 0 });
        self.next_id
    }

    fn expire(&mut self, now: Instant) {
        self.active.retain(|_id, state| state.ends > now);
    }
}

impl State {
    fn decide(&mut self, hook: Hook, target: Target, now: Instant) -> Option<Decision> {
        let rule = &self.rule;
        let applies = self.ends > now
            && rule.hook == hook
            && rule.peer.is_none_or(|peer| target.peer == Some(peer))
            && rule.class.is_none_or(|class| target.class == Some(class));
        if !applies {
            return None;
        }
        self.asked += 1;
        if rule.probability < 1.0 && chance(rule.seed, self.asked, 0) >= rule.probability {
            return None;
        }
        self.hits += 1;
        let jitter = rule.jitter_ms.map_or(Duration::ZERO, |ms| {
            Duration::from_millis(ms).mul_f64(chance(rule.seed, self.asked, 1))
        });
        Some(Decision {
            effect: rule.effect,
            delay: Duration::from_millis(rule.delay_ms.unwrap_or_default()) + jitter,
        })
    }
}

/// From 0 (inclusive) to 1 (exclusive), by the rule's seed and how often it was asked: the same
/// questions get the same answers. The mixing is splitmix64's.
fn chance(seed: u64, asked: u64, lane: u64) -> f64 {
    let mut z = seed
        .wrapping_add(asked.wrapping_mul(2).wrapping_add(lane).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    // 32 bits are exact in an f64.
    f64::from(u32::try_from(z >> 32).unwrap_or(u32::MAX)) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> Rule {
        serde_json::from_str(text).unwrap()
    }

    fn now() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
        Instant::now()
    }

    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn a_rule_acts_where_it_says_and_until_it_ends() {
        let registry = Registry::new(HOUR);
        let start = now();
        let id = registry
            .add(
                rule(r#"{"where":"link-out","what":"delay","peer":2,"delayMs":20,"ttl":"10s"}"#),
                start,
            )
            .unwrap();
        let peer = |peer| Target { peer: Some(peer), class: Some(TrafficClass::Raft) };
        assert_eq!(
            registry.link(Hook::LinkOut, peer(2), start),
            Some((Effect::Delay, Duration::from_millis(20)))
        );
        assert_eq!(registry.link(Hook::LinkOut, peer(3), start), None);
        assert_eq!(registry.link(Hook::LinkIn, peer(2), start), None);
        assert_eq!(registry.list(start)[0].hits, 1);
        let later = start + Duration::from_secs(10);
        assert_eq!(registry.link(Hook::LinkOut, peer(2), later), None);
        assert!(registry.list(later).is_empty());
        assert!(!registry.is_armed());
        assert!(!registry.remove(id));
    }

    #[test]
    fn chances_follow_the_seed() {
        let count = |seed: u64| {
            let registry = Registry::new(HOUR);
            let start = now();
            let text = format!(
                r#"{{"where":"origin","what":"error","probability":0.25,"seed":{seed},"ttl":"1m"}}"#
            );
            registry.add(rule(&text), start).unwrap();
            (0..4_000)
                .map(|_| registry.decide(Hook::Origin, Target::default(), start).is_some())
                .collect::<Vec<bool>>()
        };
        assert_eq!(count(7), count(7));
        assert_ne!(count(7), count(8));
        let hits = count(7).into_iter().filter(|hit| *hit).count();
        assert!((900..1_100).contains(&hits), "{hits}");
    }

    #[test]
    fn wrong_rules_change_nothing_and_all_faults_are_named() {
        let registry = Registry::new(HOUR);
        let start = now();
        let good = rule(r#"{"where":"disk-flush","what":"delay","delayMs":5,"ttl":"1m"}"#);
        registry.add(good.clone(), start).unwrap();
        let wrong =
            rule(r#"{"where":"disk-flush","what":"drop","peer":1,"probability":0,"ttl":"2h"}"#);
        let Err(RegistryError::Invalid(errors)) = registry.replace(vec![good, wrong], start) else {
            panic!("the rule was taken");
        };
        let fields: Vec<&str> = errors[0].1.iter().map(|error| error.field).collect();
        assert_eq!((errors[0].0, fields), (1, vec!["what", "peer", "probability", "ttl"]));
        assert_eq!(registry.list(start).len(), 1);
        assert_eq!(registry.clear(), 1);
    }
}
