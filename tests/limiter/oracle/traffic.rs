//! Requests: random ones, and those of an adversary who knows every limit and reads every reply.

use proptest::prelude::*;
use redis_ratelimit::limiter::{Mode, Quota, Request, Rule, Units, Window};

use super::{Answer, as_told, at_most, century, millis, units};

/// How a request (or several, each as long after the one before) follows what came before.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub gap: Gap,
    pub times: u32,
    pub cost: Cost,
    pub mode: Mode,
    /// How many units have to remain; of what can be combined with it.
    pub keep: Option<Cost>,
    pub block: Option<Window>,
    pub block_up_to: Option<Window>,
}

/// The time from the request before.
#[derive(Clone, Copy, Debug)]
pub enum Gap {
    /// At the same time.
    None,
    Micros(u64),
    /// Millionths of the window.
    Share(u32),
    /// Thousandths of `window / limit`: 200 is five times as often as the limit allows.
    Interval(u32),
    /// One window, and so many microseconds more or less.
    Window(i64),
    /// As long as the last reply said, and so many microseconds more or less.
    Retry(i64),
    /// As long as the last reply said, in milliseconds.
    RetryAsTold,
    /// Until the last reply said that all is back, and so many microseconds more or less.
    Reset(i64),
    /// So many windows.
    Idle(u64),
    /// The clock steps back, by millionths of the window.
    Back(u32),
    BackMicros(u64),
}

/// What a clock needs to know of the limit.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// In microseconds.
    pub window: u64,
    pub limit: u64,
}

impl Clock {
    /// The time of a request at `gap` after one at `now` that got `last`.
    pub fn after(&self, gap: Gap, now: u64, last: &Answer) -> u64 {
        let share = |of_million: u32| {
            u64::try_from(u128::from(self.window) * u128::from(of_million) / 1_000_000).unwrap()
        };
        let retry = last.retry_after.unwrap_or(0);
        let about = |span: u64, more: i64| now + span.saturating_add_signed(more);
        match gap {
            Gap::None => now,
            Gap::Micros(micros) => now + micros,
            Gap::Share(part) => now + share(part),
            Gap::Interval(thousandths) => {
                let millionths = u128::from(self.window) * u128::from(thousandths);
                now + u64::try_from(millionths / (1_000 * u128::from(self.limit))).unwrap()
            }
            Gap::Window(more) => about(self.window, more),
            Gap::Retry(more) => about(retry, more),
            Gap::RetryAsTold => now + as_told(retry),
            Gap::Reset(more) => about(last.reset_after, more),
            Gap::Idle(windows) => now + windows * self.window,
            Gap::Back(part) => now.saturating_sub(share(part)),
            Gap::BackMicros(micros) => now.saturating_sub(micros),
        }
    }
}

/// A cost, relative to the most that is granted at once.
#[derive(Clone, Copy, Debug)]
pub enum Cost {
    One,
    Exactly(u64),
    /// Thousandths of the most.
    Part(u64),
    Whole,
    /// More than that: never granted.
    Above(u64),
}

impl Cost {
    pub fn of(self, most: u64) -> Units {
        let cost = match self {
            Self::One => 1,
            Self::Exactly(cost) => cost,
            Self::Part(thousandths) => most * thousandths / 1_000,
            Self::Whole => most,
            Self::Above(more) => most + more,
        };
        units(cost.clamp(1, Units::MAX))
    }
}

impl Arrival {
    /// `times` plain requests of one unit.
    pub const fn plain(gap: Gap, times: u32) -> Self {
        Self {
            gap,
            times,
            cost: Cost::One,
            mode: Mode::Exact,
            keep: None,
            block: None,
            block_up_to: None,
        }
    }

    pub fn request(&self, most: u64) -> Request {
        Request {
            cost: self.cost.of(most),
            mode: self.mode,
            keep: match (self.mode, self.keep) {
                (Mode::Exact | Mode::AtMost, Some(keep)) => keep.of(most).get(),
                _ => 0,
            },
            block: self.block,
            block_up_to: self.block_up_to,
        }
    }
}

/// What tells requests apart.
#[derive(Clone, Copy, Debug)]
pub struct Spacing {
    /// Whether the clock may step back.
    pub steps_back: bool,
    /// Whether requests may be forced.
    pub force: bool,
    /// Whether denials may start blocks.
    pub block: bool,
    /// Whether requests may be granted that have to wait: of GCRA alone.
    pub wait: bool,
}

impl Spacing {
    /// All-or-nothing and at-most requests on a steady clock.
    pub const PLAIN: Self = Self {
        steps_back: false,
        force: false,
        block: false,
        wait: false,
    };

    /// Everything on a steady clock.
    pub const STEADY: Self = Self {
        steps_back: false,
        force: true,
        block: true,
        wait: false,
    };

    /// Everything.
    pub const ANY: Self = Self {
        steps_back: true,
        force: true,
        block: true,
        wait: false,
    };

    /// The same, and requests that wait.
    pub const fn with_waits(self) -> Self {
        Self { wait: true, ..self }
    }
}

fn gap(steps_back: bool) -> BoxedStrategy<Gap> {
    let back = if steps_back { 4 } else { 0 };
    let forward = prop_oneof![
        4 => Just(Gap::None),
        3 => (1..=3_000_u64).prop_map(Gap::Micros),
        4 => (0..=1_100_000_u32).prop_map(Gap::Share),
        4 => (200..=1_100_u32).prop_map(Gap::Interval),
        2 => (1..=5_u64).prop_map(|load| Gap::Interval(1_000 / load as u32)),
        3 => (-1..=1_i64).prop_map(Gap::Window),
        4 => (-1..=1_i64).prop_map(Gap::Retry),
        3 => Just(Gap::RetryAsTold),
        3 => (-1..=1_i64).prop_map(Gap::Reset),
        1 => (1..=50_u64).prop_map(Gap::Idle),
    ];
    if steps_back {
        prop_oneof![
            29 => forward,
            back => (0..=1_500_000_u32).prop_map(Gap::Back),
            back => (1..=3_000_u64).prop_map(Gap::BackMicros),
        ]
        .boxed()
    } else {
        forward.boxed()
    }
}

fn cost() -> impl Strategy<Value = Cost> {
    prop_oneof![
        6 => Just(Cost::One),
        3 => (1..=10_u64).prop_map(Cost::Exactly),
        4 => (0..=1_000_u64).prop_map(Cost::Part),
        1 => (1..=Units::MAX).prop_map(Cost::Exactly),
        1 => Just(Cost::Whole),
        1 => (1..=3_u64).prop_map(Cost::Above),
    ]
}

/// How much of a request is granted if there is not room for all.
fn mode(spacing: Spacing) -> impl Strategy<Value = Mode> {
    let wait = window_ms().prop_map(|ms| Mode::Wait(millis(ms)));
    prop_oneof![
        6 => Just(Mode::Exact),
        2 => Just(Mode::AtMost),
        if spacing.force { 3 } else { 0 } => Just(Mode::Force),
        if spacing.wait { 4 } else { 0 } => wait,
    ]
}

fn keep() -> impl Strategy<Value = Option<Cost>> {
    prop_oneof![
        9 => Just(None),
        2 => (1..=4_u64).prop_map(|units| Some(Cost::Exactly(units))),
        2 => (0..=1_000_u64).prop_map(|part| Some(Cost::Part(part))),
        1 => (1..=Units::MAX).prop_map(|units| Some(Cost::Exactly(units))),
    ]
}

/// The duration of a block, and up to which it grows.
fn block(allowed: bool) -> impl Strategy<Value = (Option<Window>, Option<Window>)> {
    let some = prop_oneof![1..=100_000_u64, window_ms()];
    let growth = prop_oneof![Just(None), (1..=50_u64).prop_map(Some)];
    let growing = |(ms, growth): (u64, Option<u64>)| {
        let longest = growth.map(|times| millis((ms * times).min(Window::MAX_MILLIS)));
        (Some(millis(ms)), longest)
    };
    prop_oneof![
        5 => Just((None, None)),
        if allowed { 3 } else { 0 } => (some, growth).prop_map(growing),
    ]
}

/// One request, once or several times.
pub fn spaced(spacing: Spacing) -> impl Strategy<Value = Arrival> {
    let times = prop_oneof![4 => Just(1), 3 => 2..=8_u32, 1 => 20..=70_u32];
    (
        gap(spacing.steps_back),
        times,
        cost(),
        mode(spacing),
        keep(),
        block(spacing.block),
    )
        .prop_map(
            |(gap, times, cost, mode, keep, (block, block_up_to))| Arrival {
                gap,
                times,
                cost,
                mode,
                keep,
                block,
                block_up_to,
            },
        )
}

/// Requests of every kind that `spacing` allows.
pub fn arrivals(spacing: Spacing) -> impl Strategy<Value = Vec<Arrival>> {
    prop::collection::vec(spaced(spacing), 1..14)
}

/// What one request may ask for, of a quota of `most` units.
pub fn request(spacing: Spacing, most: u64) -> impl Strategy<Value = Request> {
    spaced(spacing).prop_map(move |arrival| arrival.request(most))
}

/// From 1 to 2^32 - 1, mostly few.
pub fn limit() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 1..=5_u64,
        4 => 1..=40_u64,
        4 => 33..=2_000_u64,
        1 => 1..=Units::MAX,
        1 => Just(Units::MAX),
    ]
}

/// From 1 ms to 10 years, mostly seconds.
pub fn window_ms() -> impl Strategy<Value = u64> {
    prop_oneof![
        1 => Just(1),
        2 => 1..=50_u64,
        4 => 100..=100_000_u64,
        2 => Just(60_000),
        1 => 1..=Window::MAX_MILLIS,
        1 => Just(Window::MAX_MILLIS),
    ]
}

pub fn rule() -> impl Strategy<Value = Rule> {
    (limit(), window_ms()).prop_map(|(limit, window)| at_most(limit, window))
}

/// A quota: limit and burst are lowered to what the window allows, if need be.
pub fn quota() -> impl Strategy<Value = Quota> {
    let burst = prop_oneof![2 => Just(None), 3 => limit().prop_map(Some)];
    (limit(), window_ms(), burst).prop_map(|(limit, window, burst)| {
        let nanos = window * 1_000_000;
        let limit = limit.min(nanos);
        let most = century() * u128::from(limit) / u128::from(nanos);
        let burst = u128::from(burst.unwrap_or(limit)).min(most);
        let burst = u64::try_from(burst).unwrap();
        Quota::new(units(limit), millis(window), units(burst)).unwrap()
    })
}
