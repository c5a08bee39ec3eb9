//! `RL.INFO`.

use super::Reply;
use super::block::Block;
use super::limiter::{Algorithm, Limiter, Request};
use super::row::{millis, whole};
use super::windows::Window;

/// A limiter in full.
pub fn info(limiter: &Limiter, now: i128) -> Reply {
    let rows = limiter.denial(now, &Request::of(1));
    let (name, windows): (_, Vec<_>) = match &limiter.algorithm {
        Algorithm::Windows(windows) => {
            let more = |window: &Window| {
                let more_than_now = (window.limit - window.used()).max(0) + 1;
                window
                    .wait(now, more_than_now, None)
                    .map_or(0, |moment| millis(&whole(moment - now)))
            };
            let of = |window: &Window| {
                (
                    window.limit,
                    window.length,
                    None,
                    window.used(),
                    more(window),
                )
            };
            (
                "sliding-window",
                windows.named().into_iter().map(of).collect(),
            )
        }
        Algorithm::Bucket(bucket) => {
            let (limit, window, burst) = (bucket.rate.limit, bucket.rate.window, bucket.rate.burst);
            let remaining = bucket.remaining(now);
            let more = if remaining == burst {
                0
            } else {
                millis(&bucket.wait(now, remaining + 1))
            };
            (
                "gcra",
                vec![(limit, window, Some(burst), bucket.used(now), more)],
            )
        }
    };
    let windows =
        windows
            .into_iter()
            .zip(rows)
            .map(|((limit, window, burst, used, next_after), row)| {
                let integers = row.integers();
                let mut fields = vec![("limit", limit), ("window", window / 1_000)];
                fields.extend(burst.map(|burst| ("burst", burst)));
                fields.extend([
                    ("used", used),
                    ("remaining", row.remaining),
                    ("retry_after", integers[3]),
                    ("next_after", next_after),
                    ("reset_after", integers[4]),
                ]);
                let flat =
                    |(name, value): (&str, i128)| [Reply::Text(name.into()), Reply::Int(value)];
                Reply::Array(fields.into_iter().flat_map(flat).collect())
            });
    let Block { in_a_row, .. } = limiter.block;
    Reply::Array(vec![
        Reply::Text("algorithm".into()),
        Reply::Text(name.into()),
        Reply::Text("blocked_for".into()),
        Reply::Int(millis(&whole(limiter.block.left(now)))),
        Reply::Text("windows".into()),
        Reply::Array(windows.collect()),
        Reply::Text("blocks".into()),
        Reply::Int(in_a_row.into()),
    ])
}
