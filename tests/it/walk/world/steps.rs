//! What can happen next: to the messages, in the network, to Redis, to a worker, or by a worker.

use std::fmt;

use comet_worker::job::answers::{Later, SubmitOutcome, TaskStatus};
use comet_worker::job::event::says_unknown;
use comet_worker::job::receipt::Decision;
use comet_worker::job::record::Stage;
use comet_worker::job::step::{Action, Input, Machine};

use super::{Copy, Hand, LONG, Part, Provider, Safeguard, Table, Task, World, ZERO, task, unknown};

/// What can happen next, with names if they are asked for.
struct Steps {
    told: bool,
    steps: Vec<(String, World)>,
}

impl Steps {
    fn push(&mut self, label: fmt::Arguments<'_>, next: World) {
        let label = if self.told { label.to_string() } else { String::new() };
        self.steps.push((label, next));
    }
}

impl World {
    /// Everything that can happen next, with names if `told`.
    pub fn steps(&self, told: bool) -> Vec<(String, World)> {
        let mut steps = Steps { told, steps: Vec::new() };
        if self.hands.iter().flatten().any(|hand| hand.attempt > self.setup.attempts_max) {
            return steps.steps;
        }
        self.deliver(&mut steps);
        self.travel(&mut steps);
        self.break_redis(&mut steps);
        self.decide(&mut steps);
        self.meet(&mut steps);
        for who in 0..2 {
            if self.hands[who].is_some() {
                self.act(who, &mut steps);
                self.break_worker(who, &mut steps);
            }
        }
        steps.steps
    }

    fn deliver(&self, steps: &mut Steps) {
        for (number, copy) in self.copies.iter().enumerate() {
            for who in 0..2 {
                if *copy == Copy::Queued && self.hands[who].is_none() {
                    let first = !self.delivered[number];
                    let mut next = self.clone();
                    next.copies[number] = Copy::With(who);
                    next.delivered[number] = true;
                    let machine = Machine::new(self.rules(), self.delivered());
                    let machine = if first { machine.delivered_first() } else { machine };
                    next.hands[who] = Some(Part::new(Hand { machine, awaits: false, now: ZERO, attempt: 0 }));
                    steps.push(format_args!("copy {number} to w{who}, for the first time: {first}"), next);
                }
            }
        }
    }

    fn travel(&self, steps: &mut Steps) {
        for (index, post) in self.net.iter().enumerate() {
            let without_it = || {
                let mut next = self.clone();
                next.net.remove(index);
                next
            };
            if let Some(number) = post.accepted {
                for answer in [SubmitOutcome::Accepted(task(number)), unknown()] {
                    let mut next = without_it();
                    let (attempt, sender) = (post.attempt, post.sender);
                    next.answer(sender, answer.clone());
                    steps.push(format_args!("the answer to POST {attempt} of {sender:?}: {answer:?}"), next);
                }
                continue;
            }
            let mut lost = without_it();
            lost.answer(post.sender, unknown());
            steps.push(format_args!("POST {} of {:?} is lost", post.attempt, post.sender), lost);
            if self.setup.provider == Provider::Refuses
                && self.tasks.iter().any(|task| task.generation == post.generation)
            {
                // "This external id exists": a task of ours, and not a refusal.
                let mut exists = without_it();
                let message = "exists".to_owned();
                exists.answer(
                    post.sender,
                    SubmitOutcome::Unknown { message, provider_code: None, exists: true },
                );
                steps.push(format_args!("POST {} is refused as a repetition", post.attempt), exists);
                continue;
            }
            for fails in [false, true] {
                let mut accepted = self.clone();
                if fails {
                    let Some(left) = accepted.faults.failures.checked_sub(1) else { continue };
                    accepted.faults.failures = left;
                }
                accepted.tasks.push(Task { generation: post.generation, fails, strangers: false });
                accepted.net[index].accepted = u32::try_from(accepted.tasks.len()).ok();
                accepted.net.sort();
                let (attempt, sender) = (post.attempt, post.sender);
                steps.push(
                    format_args!("POST {attempt} of {sender:?} is accepted, and fails: {fails}"),
                    accepted,
                );
            }
            if self.faults.refusals > 0 && post.sender.is_some() {
                let mut refused = without_it();
                refused.faults.refusals -= 1;
                let later =
                    Later { message: String::new(), provider_code: None, after: None, this_job_only: false };
                refused.answer(post.sender, SubmitOutcome::Later(later));
                steps.push(
                    format_args!("POST {} of {:?} is refused for now", post.attempt, post.sender),
                    refused,
                );
            }
        }
    }

    fn answer(&mut self, sender: Option<usize>, answer: SubmitOutcome) {
        if let Some(hand) = sender.and_then(|who| self.hands[who].as_mut())
            && hand.awaits
        {
            let hand = hand.edit();
            hand.awaits = false;
            let now = hand.now;
            hand.apply(Input::Answered { answer, took: ZERO }, now);
        }
    }

    fn break_redis(&self, steps: &mut Steps) {
        if self.faults.flushes > 0 && self.table.known(&self.setup.job, ZERO).record.is_some() {
            let mut next = self.clone();
            next.faults.flushes -= 1;
            next.write(|table| *table = Table::default());
            steps.push(format_args!("Redis is flushed"), next);
        }
        if self.faults.lost_writes > 0
            && let Some(before) = &self.before
        {
            let mut next = self.clone();
            next.faults.lost_writes -= 1;
            next.table = before.clone();
            next.before = None;
            steps.push(format_args!("Redis loses its last write"), next);
        }
    }

    /// What people decide: the user cancels, or a person clears up an unknown outcome.
    fn decide(&self, steps: &mut Steps) {
        let record = self.table.known(&self.setup.job, ZERO).record;
        let ended =
            record.is_some_and(|record| matches!(record.stage, Stage::Done { .. } | Stage::Published { .. }));
        if self.faults.cancels > 0 && !ended {
            let mut next = self.clone();
            next.faults.cancels -= 1;
            next.write(|table| table.cancel(&self.setup.job, ZERO));
            steps.push(format_args!("the user cancels"), next);
        }
        let unknown = self.history.result.as_deref().is_some_and(says_unknown);
        let undecided = unknown && self.history.decision().is_none();
        let Some(gate) = self.history.last_shut_gate().filter(|_| undecided) else { return };
        for decision in [Decision::SubmitAgain, Decision::GiveUp] {
            if self.faults.decisions > 0 && self.copies[0] == Copy::Acked {
                let mut next = self.clone();
                next.faults.decisions -= 1;
                next.reopened += u32::from(decision == Decision::SubmitAgain);
                next.attempt_mut(gate).decision = Some(decision);
                next.copies[0] = Copy::Queued;
                steps.push(format_args!("a person decides {decision:?}"), next);
            }
        }
    }

    /// After this job's intent, such a task can't be told from its own, as docs/guarantees.md says.
    fn meet(&self, steps: &mut Steps) {
        let goes_out = self.hands.iter().flatten().any(|hand| hand.machine.sent_under().is_some());
        if self.faults.strangers > 0 && self.history.attempts.is_empty() && !goes_out {
            let mut next = self.clone();
            next.faults.strangers -= 1;
            next.tasks.push(Task { generation: 1, fails: false, strangers: true });
            steps.push(format_args!("another job's task is made under this one's external id"), next);
        }
    }

    fn break_worker(&self, who: usize, steps: &mut Steps) {
        if self.faults.crashes > 0 {
            let mut next = self.clone();
            next.faults.crashes -= 1;
            next.end(who, Copy::Queued);
            steps.push(format_args!("w{who} dies"), next);
        }
        if self.faults.losses > 0
            && let Some(number) = self.held(who)
        {
            let mut next = self.clone();
            next.faults.losses -= 1;
            next.copies[number] = Copy::Queued;
            steps.push(format_args!("w{who} loses its connection"), next);
        }
        // Every wait ends for a worker that has noticed the loss.
        let waits = self.hands[who].as_ref().is_some_and(|hand| {
            let action = hand.machine.action();
            matches!(action, Action::Read { .. } | Action::LookOn { .. } | Action::Poll(_) | Action::Store(_))
        });
        if waits && self.held(who).is_none() {
            let mut next = self.clone();
            next.end(who, Copy::Queued);
            steps.push(format_args!("w{who} notices that its connection is lost"), next);
        }
    }

    fn act(&self, who: usize, steps: &mut Steps) {
        let hand = self.hands[who].as_ref().unwrap();
        if hand.awaits {
            return;
        }
        let action = hand.machine.action().clone();
        if let Action::LookOn { .. } = action {
            return self.look_on(who, steps);
        }
        if let Action::AskGate { attempt, nonce, .. } = &action
            && self.faults.lost_answers > 0
            && self.intent(*attempt).is_none()
        {
            let mut next = self.clone();
            next.faults.lost_answers -= 1;
            let under = hand.machine.sent_under();
            next.create_intent(*attempt, nonce.as_str().to_owned(), false, under);
            steps.push(format_args!("w{who} creates intent-{attempt}, the answer is lost"), next);
        }
        let known = self.table.known(&self.setup.job, ZERO);
        if known.cancelled && matches!(action, Action::Poll(_) | Action::Store(_)) {
            let mut next = self.clone();
            next.hand(who).apply(Input::Record(known), hand.now);
            steps.push(format_args!("w{who} hears that the user cancels"), next);
        }
        if let Action::Poll(generation) = &action
            && self.faults.timeouts > 0
        {
            let mut next = self.clone();
            next.faults.timeouts -= 1;
            let status = TaskStatus::Running;
            next.hand(who).apply(Input::Polled { status, asked: LONG * 2000 }, LONG * 2000);
            next.settle(who);
            let task = generation.task();
            steps.push(format_args!("w{who} sees task {task} run at the end of its timeout"), next);
        }
        if let Action::LookUp { .. } = action {
            for found in self.found(who) {
                let mut next = self.clone();
                next.look_up(who, found.clone());
                next.settle(who);
                steps.push(format_args!("w{who} looks up, and the provider says {found:?}"), next);
            }
            if !self.found(who).is_empty() {
                return;
            }
        }
        let mut next = self.clone();
        next.perform(who, action.clone());
        next.settle(who);
        steps.push(format_args!("w{who}: {action:?}"), next);
    }

    /// An action that changes nothing that the other hand could see is performed together with the action before it.
    fn settle(&mut self, who: usize) {
        while let Some(hand) = self.hands[who].as_ref().filter(|hand| !hand.awaits) {
            let action = hand.machine.action().clone();
            let misses = self.setup.provider == Provider::Neither;
            let cancelled = self.faults.cancels > 0 || self.table.known(&self.setup.job, ZERO).cancelled;
            // Of two hands one may poll while the other does what follows the end.
            let told_apart = cancelled || self.setup.max_attempts > 1 || self.faults.timeouts > 0;
            #[expect(clippy::wildcard_enum_match_arm, reason = "every other action is a step of its own")]
            match action {
                Action::Poll(_) if told_apart => return,
                Action::Store(_) if cancelled => return,
                Action::Poll(_)
                | Action::Store(_)
                | Action::Park { .. }
                | Action::MarkPublished { sealed: None } => {
                    self.perform(who, action);
                }
                Action::LookUp { .. } if misses => self.perform(who, action),
                _ => return,
            }
        }
    }

    /// Waiting changes nothing by itself. A look is worth a step only if the record has changed or the provider would
    /// find the task, and the quiet period passes only while no POST of the attempt is in the network. The clock of a
    /// worker that is still before its POST goes on by the same time.
    fn look_on(&self, who: usize, steps: &mut Steps) {
        let hand = self.hands[who].as_ref().unwrap();
        let record = self.table.known(&self.setup.job, ZERO).record;
        let open = match record.map(|record| record.stage) {
            Some(Stage::Submitting { attempt, .. }) => Some(attempt),
            Some(
                Stage::New { .. } | Stage::Generating { .. } | Stage::Done { .. } | Stage::Published { .. },
            )
            | None => None,
        };
        if open != Some(hand.attempt) || !self.found(who).is_empty() {
            let mut looked = self.clone();
            looked.hand(who).apply(Input::LookAgain, hand.now);
            steps.push(format_args!("w{who} looks again"), looked);
        }
        let travels = self.net.iter().any(|post| post.attempt == hand.attempt && post.accepted.is_none());
        let oracle = self.setup.without != Some(Safeguard::QuietPeriod);
        if open == Some(hand.attempt) && !(oracle && travels) {
            let mut quiet = self.clone();
            let attempt = hand.attempt;
            quiet.hand(who).now += LONG;
            quiet.hand(who).apply(Input::LookAgain, hand.now + LONG);
            for other in quiet.hands.iter_mut().flatten().filter(|_| oracle) {
                let may_post = matches!(other.machine.action(), Action::Post { .. } | Action::AskGate { .. });
                if other.attempt == attempt && may_post {
                    other.edit().now += LONG;
                }
            }
            steps.push(format_args!("quiet passes for w{who}"), quiet);
        }
    }
}
