//! Whoever drives merges: what is proposed, and how it arrives.

use hexpop_edge_config::ShardId;
use hexpop_shard::{
    Command, MERGE_OPEN_MAX_MS, Merge, MergeGoal, MergeNext, MergeOp, MergeSight, Op, OperationId,
    Refusal, Reply, ShardDescriptor,
};

use super::{
    replicas::Entry,
    world::{Operation, Report, Slip, World},
};

impl World {
    /// Neighbours that the map has as their logs do, and on which nothing runs.
    pub(super) fn begin_merge(&mut self) {
        let map = self.meta.map();
        let is_busy = |id: ShardId| {
            let of = |it: &&Operation| !it.is_over && (it.left == id || it.right.id == id);
            self.operations.iter().any(|operation| of(&operation))
        };
        let fits = |id: ShardId| {
            self.groups.contains_key(&id)
                && !self.absorbed.contains(&id)
                && !is_busy(id)
                && self.is_reported(id)
        };
        let mut pairs: Vec<(ShardId, ShardDescriptor)> = Vec::new();
        for left in map.shards().filter(|shard| fits(shard.id)) {
            let right = left.range.end.as_ref().and_then(|end| map.locate(end));
            if let Some(right) = right.filter(|right| fits(right.id)) {
                pairs.push((left.id, right.clone()));
            }
        }
        if pairs.is_empty() {
            return;
        }
        let (left, right) = self.rng.pick(&pairs).clone();
        let id = OperationId(self.operations.len() as u64 + 1);
        let goal = MergeGoal::Merge;
        self.operations.push(Operation { id, left, right, goal, is_over: false });
    }

    pub(super) fn cancel_one(&mut self) {
        let running: Vec<usize> = self.running();
        if !running.is_empty() {
            let at = *self.rng.pick(&running);
            self.operations[at].goal = MergeGoal::Cancel;
        }
    }

    fn running(&self) -> Vec<usize> {
        let operations = self.operations.iter().enumerate();
        operations.filter(|(_, operation)| !operation.is_over).map(|(at, _)| at).collect()
    }

    pub(super) fn drive(&mut self) {
        let running = self.running();
        if !running.is_empty() {
            let at = *self.rng.pick(&running);
            self.drive_one(at);
        }
    }

    /// One look at an operation, and what follows from it.
    pub(super) fn drive_one(&mut self, at: usize) {
        let Operation { id, left, ref right, goal, is_over } = self.operations[at];
        if is_over {
            return;
        }
        let right_id = right.id;
        let left_group = self.groups.get(&left).unwrap_or_else(|| {
            panic!("seed {}: nobody holds shard {left}, which is to absorb", self.seed)
        });
        let open = left_group.truth.open_merge();
        let sight = MergeSight {
            operation: id,
            merge: &Merge::of(right),
            left_state: &left_group.truth,
            right: self.groups.get(&right_id).map(|group| group.truth.as_right()),
            is_staged: left_group
                .members
                .iter()
                .all(|member| self.staged.contains_key(&(member.node.0, (right_id, id)))),
            is_late: open.is_some_and(|open| {
                open.operation == id && self.now > open.at_ms.saturating_add(MERGE_OPEN_MAX_MS)
            }),
        };
        match sight.next(goal) {
            MergeNext::OnLeft(op) => self.send_left(at, op),
            MergeNext::OnRight(op) => self.send(right_id, op),
            MergeNext::Stage(_) => self.stage_one(at),
            MergeNext::Report => {
                let map = self.meta.map();
                if map.get(right_id).is_none() && map.was_used(right_id) {
                    self.operations[at].is_over = true;
                } else {
                    let shard = left_group.descriptor();
                    self.reports.push(Report::Merged(shard, right_id));
                }
            }
            MergeNext::GiveUp(_) => self.operations[at].goal = MergeGoal::Cancel,
            MergeNext::Cancelled => {
                self.operations[at].is_over = true;
                self.tally.cancelled += 1;
            }
        }
    }

    fn send_left(&mut self, at: usize, op: MergeOp) {
        let Operation { id: operation, left, ref right, .. } = self.operations[at];
        let right = right.id;
        match (&op, self.slip) {
            (MergeOp::Cancel { .. }, Slip::UnsealFirst) => {
                let is_sealed = self.groups.get(&right).is_some_and(|group| {
                    group.truth.sealed_for().is_some_and(|sealed| sealed.operation == operation)
                });
                if is_sealed {
                    return self.send(right, MergeOp::Unseal { operation });
                }
            }
            (MergeOp::Absorb { .. }, Slip::RetireEarly) => {
                self.groups.remove(&right);
            }
            _ => {}
        }
        self.send(left, op);
    }

    /// Whoever proposes it may not hear of it, and another one proposes it too.
    fn send(&mut self, to: ShardId, op: MergeOp) {
        let Some(group) = self.groups.get(&to) else { return };
        let epoch = group.truth.epoch();
        let command = Command { request: None, epoch, at_ms: self.now, op: Op::Merge(op) };
        self.flight.push((to, command));
    }

    /// A node of the left shard fetches what it lacks.
    fn stage_one(&mut self, at: usize) {
        let Operation { id, left, ref right, .. } = self.operations[at];
        let wanted = (right.id, id);
        let Some(files) = self.staged_anywhere(wanted) else { return };
        let members = self.groups[&left].members.iter().map(|member| member.node.0);
        let lacking = members.filter(|node| !self.staged.contains_key(&(*node, wanted)));
        if let Some(node) = lacking.min() {
            self.staged.insert((node, wanted), files);
        }
    }

    /// A proposal arrives, perhaps again later, perhaps never.
    pub(super) fn deliver_proposal(&mut self) {
        if self.flight.is_empty() {
            return;
        }
        // Mostly the newest.
        let last = self.flight.len() - 1;
        let at = if self.rng.chance(60) { last } else { self.rng.below(last + 1) };
        let (id, command) = match self.rng.below(3) {
            0 => self.flight[at].clone(),
            _ => self.flight.swap_remove(at),
        };
        if !self.rng.chance(15) {
            self.propose(id, command);
        }
    }

    pub(super) fn propose(&mut self, id: ShardId, command: Command) {
        if !self.groups.contains_key(&id) {
            return;
        }
        let reply = self.commit(id, Entry::Command(Box::new(command.clone())));
        let Some(Reply::Refused(Refusal::Unfit(_))) = reply else { return };
        self.tally.unfit += 1;
        let Op::Merge(MergeOp::Absorb { operation, .. }) = command.op else { return };
        // The driver hears of it, or asks again.
        let heard = self.rng.chance(70);
        if let Some(it) = self.operations.iter_mut().find(|it| it.id == operation && heard) {
            it.goal = MergeGoal::Cancel;
        }
    }
}
