//! The Lua that people rate-limit with today, in its plainest form: written for speed, without the replies, options and
//! checks that libraries add.

use super::wire::Pipe;

/// Name and text. Each returns 1 for granted and 0 for denied.
const SCRIPTS: [(&str, &str); 3] = [
    // KEYS: the counter. ARGV: limit, window (ms).
    (
        "fixed-window",
        "local count = redis.call('INCR', KEYS[1])
        if count == 1 then
            redis.call('PEXPIRE', KEYS[1], ARGV[2])
        end
        if count > tonumber(ARGV[1]) then
            return 0
        end
        return 1",
    ),
    // KEYS: the log, a member for each admission. ARGV: limit, window (ms).
    (
        "sorted-set",
        "local time = redis.call('TIME')
        local now = time[1] * 1000000 + time[2]
        local window = tonumber(ARGV[2])
        redis.call('ZREMRANGEBYSCORE', KEYS[1], 0, now - window * 1000)
        local count = redis.call('ZCARD', KEYS[1])
        if count >= tonumber(ARGV[1]) then
            return 0
        end
        redis.call('ZADD', KEYS[1], now, time[1] .. time[2] .. ':' .. count)
        redis.call('PEXPIRE', KEYS[1], window)
        return 1",
    ),
    // KEYS: the theoretical arrival time (us). ARGV: emission interval (us), burst.
    (
        "gcra",
        "local time = redis.call('TIME')
        local now = time[1] * 1000000 + time[2]
        local interval = tonumber(ARGV[1])
        local tat = tonumber(redis.call('GET', KEYS[1]) or now)
        if tat < now then
            tat = now
        end
        tat = tat + interval
        local ahead = tat - now
        if ahead > interval * ARGV[2] then
            return 0
        end
        redis.call('SET', KEYS[1], string.format('%d', tat), 'PX', math.ceil(ahead / 1000))
        return 1",
    ),
];

/// Loads all of them; name and digest.
pub fn load(pipe: &mut Pipe) -> Vec<(&'static str, String)> {
    SCRIPTS
        .into_iter()
        .map(|(name, text)| {
            let reply = pipe.ask_words(&["SCRIPT", "LOAD", text]);
            (name, reply.split("\r\n").nth(1).unwrap().to_owned())
        })
        .collect()
}

/// The request with the digest of its script in the place of its `<name>`.
pub fn fill_in(request: &str, digests: &[(&'static str, String)]) -> String {
    digests
        .iter()
        .fold(request.to_owned(), |request, (name, digest)| {
            request.replace(&format!("<{name}>"), digest)
        })
}
