//! One limiter: what a request is answered, and what it does. Times are in microseconds.

use super::block::Block;
use super::bucket::{Bucket, Rate};
use super::row::{Fraction, Row, whole};
use super::windows::{Renewal, Window, Windows, first_moment};

/// How much of the cost is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    AllOrNothing,
    AtMost,
    Force,
    MaxWait(i128),
}

/// What is asked of one key.
#[derive(Clone, Debug)]
pub struct Request {
    pub cost: i128,
    pub keep: i128,
    pub mode: Mode,
    /// `BLOCK` and `UPTO`.
    pub block: Option<(i128, Option<i128>)>,
    /// Whether the reply has a receipt.
    pub receipt: bool,
    pub renew: Option<i128>,
}

impl Request {
    /// All or nothing of a cost.
    pub fn of(cost: i128) -> Self {
        Self {
            cost,
            keep: 0,
            mode: Mode::AllOrNothing,
            block: None,
            receipt: false,
            renew: None,
        }
    }

    /// How many units have to be free.
    fn needed(&self) -> i128 {
        match self.mode {
            Mode::AllOrNothing | Mode::MaxWait(_) => self.cost.max(1) + self.keep,
            Mode::AtMost => 1 + self.keep,
            Mode::Force => 0,
        }
    }

    fn renewal(&self) -> Option<Renewal> {
        self.renew.map(|receipt| Renewal {
            receipt,
            cost: self.cost,
        })
    }
}

/// Limits and windows as a request names them.
#[derive(Clone, Debug, PartialEq)]
pub enum Parameters {
    Windows(Vec<(i128, i128)>),
    Rate(Rate),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Algorithm {
    Windows(Windows),
    Bucket(Bucket),
}

/// A limiter as it is at some time.
#[derive(Clone, Debug, PartialEq)]
pub struct Limiter {
    pub algorithm: Algorithm,
    pub block: Block,
    /// When it was last written.
    pub written: i128,
}

impl Limiter {
    /// One of which nothing is in use.
    pub fn new(now: i128, parameters: &Parameters) -> Self {
        let algorithm = match parameters {
            Parameters::Windows(pairs) => Algorithm::Windows(Windows::default().name(now, pairs)),
            Parameters::Rate(rate) => Algorithm::Bucket(Bucket {
                rate: rate.clone(),
                tat: whole(0),
            }),
        };
        Self {
            algorithm,
            block: Block::default(),
            written: now,
        }
    }

    /// As it is now.
    pub fn at(&self, now: i128) -> Self {
        let stepped_back = (self.written - now).max(0);
        let algorithm = match &self.algorithm {
            Algorithm::Windows(windows) => Algorithm::Windows(windows.at(now)),
            Algorithm::Bucket(Bucket { rate, tat }) => Algorithm::Bucket(Bucket {
                rate: rate.clone(),
                tat: tat - whole(stepped_back),
            }),
        };
        Self {
            algorithm,
            block: self.block.at(now, stepped_back),
            written: self.written.min(now),
        }
    }

    /// With what a request names; none if that is of the other algorithm.
    pub fn with(&self, now: i128, parameters: &Parameters) -> Option<Self> {
        let algorithm = match (&self.algorithm, parameters) {
            (Algorithm::Windows(windows), Parameters::Windows(pairs)) => {
                Algorithm::Windows(windows.name(now, pairs))
            }
            (Algorithm::Bucket(bucket), Parameters::Rate(rate)) => {
                Algorithm::Bucket(bucket.with(rate.clone()))
            }
            _ => return None,
        };
        Some(Self {
            algorithm,
            ..self.clone()
        })
    }

    /// Those in force.
    pub fn parameters(&self) -> Parameters {
        match &self.algorithm {
            Algorithm::Windows(windows) => Parameters::Windows(windows.pairs()),
            Algorithm::Bucket(bucket) => Parameters::Rate(bucket.rate.clone()),
        }
    }

    /// Whether anything is in use in what is in force, or a block runs.
    pub fn is_in_use(&self, now: i128) -> bool {
        let used = match &self.algorithm {
            Algorithm::Windows(windows) => windows.named().iter().any(|window| window.used() > 0),
            Algorithm::Bucket(bucket) => bucket.used(now) > 0,
        };
        used || self.block.left(now) > 0
    }

    /// The same, or in a window that is no longer named.
    pub fn is_in_use_anywhere(&self, now: i128) -> bool {
        let kept = match &self.algorithm {
            Algorithm::Windows(windows) => windows.0.iter().any(|window| window.used() > 0),
            Algorithm::Bucket(_) => false,
        };
        kept || self.is_in_use(now)
    }

    /// When its state no longer matters.
    pub fn end(&self) -> Fraction {
        let end = match &self.algorithm {
            Algorithm::Windows(windows) => whole(
                windows
                    .0
                    .iter()
                    .filter_map(Window::empty_at)
                    .max()
                    .unwrap_or(0),
            ),
            Algorithm::Bucket(bucket) => bucket.tat.clone(),
        };
        end.max(whole(self.block.end()))
    }

    /// Whether what is asked for is more than there can ever be.
    pub fn never(&self, request: &Request) -> bool {
        let least = match &self.algorithm {
            Algorithm::Windows(windows) => windows
                .named()
                .iter()
                .map(|window| window.limit)
                .min()
                .unwrap(),
            Algorithm::Bucket(bucket) => bucket.rate.burst,
        };
        request.needed() > least
    }

    /// How much of it is granted now; none if it is denied. A cost of 0 needs a free unit.
    pub fn grantable(&self, now: i128, request: &Request) -> Option<i128> {
        if self.never(request) || self.block.left(now) > 0 {
            return None;
        }
        if let Algorithm::Bucket(bucket) = &self.algorithm {
            return match request.mode {
                Mode::Force => Some(request.cost),
                Mode::AtMost => most(request, bucket.remaining(now)),
                Mode::AllOrNothing => {
                    (bucket.wait(now, request.needed()) == whole(0)).then_some(request.cost)
                }
                Mode::MaxWait(longest) => {
                    (bucket.wait(now, request.needed()) <= whole(longest)).then_some(request.cost)
                }
            };
        }
        // What is given back by a renewal may be granted anew.
        let mut renewed = self.clone();
        renewed.renew(now, request);
        let Algorithm::Windows(windows) = &renewed.algorithm else {
            unreachable!()
        };
        let free = windows
            .named()
            .iter()
            .map(|window| window.limit - window.used())
            .min()
            .unwrap();
        match request.mode {
            Mode::Force => Some(request.cost),
            Mode::AtMost => most(request, free),
            _ => (request.needed() <= free).then_some(request.cost),
        }
    }

    /// As a refund does: every stored window gives back.
    fn renew(&mut self, now: i128, request: &Request) {
        if let (Some(Renewal { receipt, cost }), Algorithm::Windows(windows)) =
            (request.renewal(), &mut self.algorithm)
        {
            for window in &mut windows.0 {
                window.log.give_back(cost, receipt, now, window.length);
            }
        }
    }

    /// Charges what is granted; the answers.
    pub fn grant(&mut self, now: i128, request: &Request, granted: i128) -> Vec<Row> {
        self.renew(now, request);
        let forced = request.mode == Mode::Force;
        let mut rows = match &mut self.algorithm {
            Algorithm::Bucket(bucket) => {
                let wait = match request.mode {
                    Mode::MaxWait(_) => bucket.wait(now, request.needed()),
                    _ => whole(0),
                };
                bucket.charge(now, granted, forced);
                vec![Row {
                    retry_after: Some(wait),
                    ..bucket_row(bucket, now)
                }]
            }
            Algorithm::Windows(windows) => {
                let mut charged = false;
                for window in windows.0.iter_mut().filter(|window| window.named) {
                    let room_of_debt = (2 * window.limit - window.used()).max(0);
                    let units = if forced {
                        granted.min(room_of_debt)
                    } else {
                        granted
                    };
                    window.log.admit(now, units, window.limit);
                    charged |= units > 0;
                }
                let receipt = request.receipt.then_some(if charged { now } else { 0 });
                let row = |window: &Window| Row {
                    receipt,
                    ..window_row(window, now)
                };
                windows.named().into_iter().map(row).collect()
            }
        };
        for row in &mut rows {
            row.granted = granted;
        }
        rows
    }

    /// The answers to what is denied.
    pub fn denial(&self, now: i128, request: &Request) -> Vec<Row> {
        let left = whole(self.block.left(now));
        let mut rows = match &self.algorithm {
            Algorithm::Bucket(bucket) => {
                let never = request.needed() > bucket.rate.burst;
                let wait = match request.mode {
                    Mode::Force => whole(0),
                    _ => bucket.wait(now, request.needed()),
                };
                vec![Row {
                    retry_after: (!never).then_some(wait),
                    ..bucket_row(bucket, now)
                }]
            }
            Algorithm::Windows(windows) => {
                let end = now + self.block.left(now);
                let receipt = request.receipt.then_some(0);
                let row = |window: &Window| {
                    let moment = match request.mode {
                        Mode::Force => Some(end),
                        _ => window.wait(end, request.needed(), request.renewal()),
                    };
                    let retry_after = moment.map(|moment| whole(moment - now));
                    Row {
                        receipt,
                        retry_after,
                        ..window_row(window, now)
                    }
                };
                windows.named().into_iter().map(row).collect::<Vec<_>>()
            }
        };
        for row in &mut rows {
            row.retry_after = row.retry_after.take().map(|wait| wait.max(left.clone()));
            row.reset_after = row.reset_after.clone().max(left.clone());
        }
        rows
    }

    /// The time until the same request would be granted in every window, if nobody else asks.
    pub fn wait_for_all(&self, now: i128, request: &Request) -> Option<Fraction> {
        let Algorithm::Windows(windows) = &self.algorithm else {
            return None;
        };
        let end = now + self.block.left(now);
        if request.mode == Mode::Force {
            return Some(whole(end - now));
        }
        let moment = first_moment(&windows.named(), end, request.needed(), request.renewal())?;
        Some(whole(moment - now))
    }

    /// What `RL.PEEK` answers.
    pub fn peek(&self, now: i128, cost: i128) -> Row {
        let request = Request::of(cost);
        let granted = self.grantable(now, &request);
        let rows = self.denial(now, &request);
        Row {
            granted: granted.unwrap_or(0),
            ..Row::binding(rows, granted.is_some())
        }
    }

    /// Gives units back; the most that a window gave, and whether any did.
    pub fn refund(&mut self, now: i128, units: i128, receipt: Option<i128>) -> i128 {
        match &mut self.algorithm {
            Algorithm::Bucket(bucket) => bucket.give_back(now, units),
            Algorithm::Windows(windows) => {
                let give_back = |window: &mut Window| match receipt {
                    Some(receipt) => window.log.give_back(units, receipt, now, window.length),
                    None => window.log.give_back_newest(units),
                };
                windows.0.iter_mut().map(give_back).max().unwrap()
            }
        }
    }
}

/// What `ATMOST` grants.
fn most(request: &Request, free: i128) -> Option<i128> {
    let granted = request.cost.min(free - request.keep);
    (granted > 0).then_some(granted)
}

fn window_row(window: &Window, now: i128) -> Row {
    Row {
        granted: 0,
        limit: window.limit,
        remaining: (window.limit - window.used()).max(0),
        retry_after: Some(whole(0)),
        reset_after: whole(window.empty_at().map_or(0, |moment| moment - now)),
        receipt: None,
    }
}

fn bucket_row(bucket: &Bucket, now: i128) -> Row {
    Row {
        granted: 0,
        limit: bucket.rate.burst,
        remaining: bucket.remaining(now),
        retry_after: Some(whole(0)),
        reset_after: bucket.in_use(now),
        receipt: None,
    }
}
