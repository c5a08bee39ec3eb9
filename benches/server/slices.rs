//! A slice: some ten milliseconds of one workload, between two looks at the server's clocks.

use std::time::Duration;

use super::keys::{Keys, Order, Sizes};
use super::request::{Request, key};
use super::scripts;
use super::statistics::Summary;
use super::target::Target;
use super::wire::{Mark, Stream, Wanted};
use super::workloads::Workload;

/// Requests that are rendered together while a state is prepared.
const PIECE: usize = 100_000;

/// What a slice took, for each request.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Of the server's main thread, in nanoseconds.
    pub cpu: f64,
    /// Of the day, in nanoseconds.
    pub wall: f64,
}

/// A workload on a server, in a database of its own.
pub struct Job {
    pub workload: Workload,
    pub request: Request,
    undo: Option<Request>,
    before: Vec<(Request, usize)>,
    pub order: Order,
    pub database: usize,
    touches: usize,
    /// What two looks at the clocks take with nothing between them.
    look: Sample,
}

impl Sample {
    fn between(from: Mark, to: Mark) -> Self {
        let nanos = |from: Duration, to: Duration| to.saturating_sub(from).as_secs_f64() * 1e9;
        Self {
            cpu: nanos(from.cpu, to.cpu),
            wall: nanos(from.wall, to.wall),
        }
    }
}

impl Job {
    /// Brings the server into the state in which the workload begins.
    pub fn set_up(target: &mut Target, workload: Workload, sizes: Sizes) -> Self {
        let request = |text: &str| Request::parse(&scripts::fill_in(text, &target.scripts));
        let mut job = Self {
            request: request(&workload.request),
            undo: workload.undo.as_deref().map(request),
            before: workload
                .before
                .iter()
                .map(|(text, times)| (request(text), *times))
                .collect(),
            order: Order::new(workload.keys, sizes),
            database: target.next_database(),
            touches: sizes.touches / workload.weight,
            look: Sample {
                cpu: 0.0,
                wall: 0.0,
            },
            workload,
        };
        job.enter(target);
        if !job.workload.fresh {
            job.prepare(target);
        }
        job.look = job.look_twice(target);
        job.warm_up(target);
        job
    }

    fn name(&self) -> String {
        format!("{}, {}", self.workload.name, self.workload.keys)
    }

    fn enter(&self, target: &mut Target) {
        target.pipe.ask(&format!("SELECT {}", self.database));
    }

    fn prepare(&mut self, target: &mut Target) {
        let name = self.name();
        for (request, times) in &self.before {
            let mut missing = times * self.order.len();
            while missing > 0 {
                // One after the other, so that each has a time of its own, and so a group of its own in a log.
                let together = if self.workload.keys == Keys::One {
                    1
                } else {
                    missing.min(PIECE)
                };
                let mut stream = Stream::default();
                for _ in 0..together {
                    stream.push(request, &mut || self.order.next(), Wanted::Answer);
                }
                target.pipe.run(&name, &mut stream);
                target.settle();
                missing -= together;
            }
        }
    }

    /// Visits every key once, so that all of them exist and have the memory that they need.
    fn warm_up(&mut self, target: &mut Target) {
        let visits = self.order.len().div_ceil(self.touches);
        for _ in 0..visits {
            self.slice(target);
        }
    }

    /// What the looks themselves take, to be subtracted.
    fn look_twice(&self, target: &mut Target) -> Sample {
        let mut stream = Stream::default();
        for _ in 0..=100 {
            stream.mark();
        }
        let marks = target.pipe.run("looking", &mut stream);
        let looks = marks
            .windows(2)
            .map(|pair| Sample::between(pair[0], pair[1]));
        Sample {
            cpu: Summary::of(looks.clone().map(|look| look.cpu)).median,
            wall: Summary::of(looks.map(|look| look.wall)).median,
        }
    }

    /// Measures once.
    pub fn slice(&mut self, target: &mut Target) -> Sample {
        self.begin(target);
        self.timed(target)
    }

    /// Brings the server into the state in which a slice begins.
    pub fn begin(&mut self, target: &mut Target) {
        self.enter(target);
        if self.workload.fresh {
            target.pipe.ask("FLUSHDB SYNC");
            self.prepare(target);
        }
    }

    /// The slice itself.
    pub fn timed(&mut self, target: &mut Target) -> Sample {
        let wanted = self.workload.wanted;
        let requests = (self.touches / self.request.keys()).max(1);
        let mut stream = Stream::default();
        let mut timed = 0;
        while timed < requests {
            // What is undone is undone before its keys come again.
            let block = match self.undo {
                Some(_) => {
                    (requests - timed).min(self.order.len().min(1_000) / self.request.keys())
                }
                None => requests - timed,
            };
            let mut again = self.order.clone();
            stream.mark();
            for _ in 0..block {
                stream.push(&self.request, &mut || self.order.next(), wanted);
            }
            stream.mark();
            if let Some(undo) = &self.undo {
                for _ in 0..block * self.request.keys() {
                    stream.push(undo, &mut || again.next(), Wanted::Answer);
                }
            }
            timed += block;
        }
        let marks = target.pipe.run(&self.name(), &mut stream);
        target.settle();

        let (mut cpu, mut wall) = (0.0, 0.0);
        for pair in marks.chunks_exact(2) {
            let between = Sample::between(pair[0], pair[1]);
            cpu += between.cpu - self.look.cpu;
            wall += between.wall - self.look.wall;
        }
        Sample {
            cpu: cpu / timed as f64,
            wall: wall / timed as f64,
        }
    }

    /// The bytes of the state that its limiters have after a request, if they are strings of ours.
    pub fn state_length(&mut self, target: &mut Target) -> Option<usize> {
        if !self.workload.name.starts_with("RL.") && !self.workload.name.starts_with("CL.") {
            return None;
        }
        self.enter(target);
        if self.workload.keys == Keys::New {
            target.pipe.ask("FLUSHDB SYNC");
        }
        if self.request.keys() == 1 {
            let mut stream = Stream::default();
            stream.push(&self.request, &mut || 0, Wanted::Answer);
            target.pipe.run(&self.name(), &mut stream);
        }
        target.pipe.string_length(&key(0))
    }
}
