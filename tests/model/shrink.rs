//! A history that fails is made as short as it gets.

use std::time::{Duration, Instant};

use crate::stage::{Difference, Stage};
use crate::step::Step;

/// How long that may take. Until then it also gets shorter on a slow machine, only less so.
const TIME: Duration = Duration::from_secs(60);

/// The shortest that was found, and what differs at its end.
pub fn shrink(
    stage: &mut Stage,
    history: &[Step],
    difference: Difference,
) -> (Vec<Step>, Difference) {
    let mut shrinking = Shrinking {
        stage,
        best: history[..=difference.at].to_vec(),
        difference,
        end: Instant::now() + TIME,
    };
    loop {
        let before = shrinking.best.clone();
        while shrinking.leave_out_steps() {}
        shrinking.leave_out_words();
        shrinking.round_times();
        if shrinking.best == before || Instant::now() > shrinking.end {
            return (shrinking.best, shrinking.difference);
        }
    }
}

struct Shrinking<'a> {
    stage: &'a mut Stage,
    best: Vec<Step>,
    difference: Difference,
    end: Instant,
}

impl Shrinking<'_> {
    /// Takes it instead, if something still differs.
    fn try_instead(&mut self, history: Vec<Step>) -> bool {
        if Instant::now() > self.end {
            return false;
        }
        match self.stage.play(&history) {
            // Of a line with two mistakes, either may be named.
            Err(difference) if difference.only_error == self.difference.only_error => {
                self.best = history[..=difference.at.min(history.len() - 1)].to_vec();
                self.difference = difference;
                true
            }
            _ => false,
        }
    }

    /// Whether it became shorter.
    fn leave_out_steps(&mut self) -> bool {
        let before = self.best.len();
        let mut size = self.best.len().div_ceil(2);
        while size > 0 {
            let mut at = 0;
            while at < self.best.len() {
                let end = (at + size).min(self.best.len());
                let without = [&self.best[..at], &self.best[end..]].concat();
                if without.is_empty() || !self.try_instead(without) {
                    at += size;
                }
            }
            size /= 2;
        }
        self.best.len() < before
    }

    fn leave_out_words(&mut self) {
        for count in [2, 1] {
            for at in 0..self.best.len() {
                let mut word = 2;
                while let Some(step @ Step::Command(words)) = self.best.get(at)
                    && step.is_ours()
                    && word + count <= words.len()
                {
                    let fewer = [&words[..word], &words[word + count..]].concat();
                    let mut history = self.best.clone();
                    history[at] = Step::Command(fewer);
                    if !self.try_instead(history) {
                        word += 1;
                    }
                }
            }
        }
    }

    fn round_times(&mut self) {
        for at in 0..self.best.len() {
            for unit in [1_000_000, 1_000] {
                if let Some(Step::Clock(time)) = self.best.get(at)
                    && time % unit != 0
                {
                    let mut history = self.best.clone();
                    history[at] = Step::Clock(time - time.rem_euclid(unit));
                    if self.try_instead(history) {
                        break;
                    }
                }
            }
        }
    }
}
