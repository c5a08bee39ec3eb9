//! What a limiter makes of a scenario.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::fmt::Write as _;

use fastrand::Rng;

use super::limiters::{RateLimiter, START, WINDOW};
use super::scenarios::{SECOND, Scenario};

/// A request and its answer.
pub struct Event {
    /// In microseconds since the start.
    at: u64,
    admitted: bool,
}

/// All requests that one limiter has seen, in order.
pub struct Course {
    pub limiter: &'static str,
    pub events: Vec<Event>,
    seconds: u64,
}

/// Sends `scenario` to `limiter`.
pub fn play(name: &'static str, mut limiter: Box<dyn RateLimiter>, scenario: &Scenario) -> Course {
    let mut random = Rng::with_seed(4);
    let mut due: BinaryHeap<_> = scenario.arrivals.iter().copied().map(Reverse).collect();
    let mut events = Vec::new();
    while let Some(Reverse(at)) = due.pop() {
        if at >= scenario.seconds * SECOND {
            break;
        }
        let admitted = limiter.admits(START + at);
        events.push(Event { at, admitted });
        if let Some(pause) = scenario.retries.as_ref().filter(|_| !admitted) {
            let wait = random.u64(pause.clone());
            due.push(Reverse(at + wait));
        }
    }
    Course {
        limiter: name,
        events,
        seconds: scenario.seconds,
    }
}

impl Course {
    /// When requests were admitted, in microseconds since the start.
    pub fn admitted(&self) -> impl Iterator<Item = u64> {
        let admitted = self.events.iter().filter(|event| event.admitted);
        admitted.map(|event| event.at)
    }

    /// The most admitted in any interval of so many seconds.
    pub fn most_within(&self, seconds: u64) -> usize {
        let mut recent = VecDeque::new();
        let mut most = 0;
        for at in self.admitted() {
            recent.push_back(at);
            forget(&mut recent, at, seconds * SECOND);
            most = most.max(recent.len());
        }
        most
    }
}

/// Takes out what is no longer in [t, t + `span`) at `now`.
fn forget(admitted: &mut VecDeque<u64>, now: u64, span: u64) {
    while admitted.front().is_some_and(|at| at + span <= now) {
        admitted.pop_front();
    }
}

/// A line for each second: requests, those admitted, and the most that a window which ends in that second holds.
pub fn csv(courses: &[Course]) -> String {
    let mut csv = String::from("limiter,second,offered,admitted,admitted_in_60_s\n");
    for course in courses {
        let mut events = course.events.iter().peekable();
        let mut recent = VecDeque::new();
        for second in 0..course.seconds {
            forget(&mut recent, second * SECOND, WINDOW);
            let (mut offered, mut admitted, mut most) = (0, 0, recent.len());
            while let Some(event) = events.next_if(|event| event.at < (second + 1) * SECOND) {
                offered += 1;
                if event.admitted {
                    admitted += 1;
                    recent.push_back(event.at);
                    forget(&mut recent, event.at, WINDOW);
                    most = most.max(recent.len());
                }
            }
            writeln!(
                csv,
                "{},{second},{offered},{admitted},{most}",
                course.limiter
            )
            .expect("a String takes everything");
        }
    }
    csv
}
