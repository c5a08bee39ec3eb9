//! States of limiters as bytes, and what could be taken for one.

use fastrand::Rng;
use redis::{Connection, Value};

use super::requests::bytes;
use crate::harness::Ask;

/// Of both algorithms and both layouts, short ones and long ones.
pub struct States(Vec<Vec<u8>>);

impl States {
    /// What the module stores. It leaves no key behind.
    pub fn of(client: &mut Connection) -> Self {
        let many_windows: String = (1..=8).map(|n| format!(" {} {n}h", 90 * n)).collect();
        let mut requests = [
            "RL.GCRA 0 5 1h",
            "RL.GCRA 1 4294967295 1h BURST 4294967295 COST 4294967295 FORCE",
            "RL.GCRA 2 1 1h BLOCK 5m",
            "RL.GCRA 3 1 1h BLOCK 5m UPTO 1d",
            "RL.CHECK 4 5 1h",
            "RL.CHECK 5 4294967295 3650d COST 4294967295 FORCE",
            "RL.CHECK 6 1 1h BLOCK 5m",
            "RL.CHECK 7 1 1h BLOCK 5m UPTO 1d",
            "RL.CHECK 8 90 1s 60 1ms 60 2ms 100 1h",
        ]
        .map(String::from)
        .to_vec();
        requests.push(format!("RL.CHECK 9{many_windows}"));
        // Enough of them that groups join.
        for request in requests.iter().cycle().take(20 * requests.len()) {
            client.ask(request);
        }
        for _ in 0..40 {
            client.ask("RL.CHECK joined 2000 1h COST 3");
        }
        let states: Vec<Vec<u8>> = (0..10)
            .map(|key| key.to_string())
            .chain(["joined".into()])
            .map(|key| match client.ask(&format!("GETDEL {key}")) {
                Value::BulkString(state) => state,
                other => panic!("{key}: {other:?}"),
            })
            .collect();
        // Version, and the bit of the algorithm.
        for kind in [[1, 0], [1, 1], [2, 0], [2, 1]] {
            assert!(states.iter().any(|state| [state[2], state[3] & 1] == kind));
        }
        Self(states)
    }

    /// One of them.
    pub fn any(&self, random: &mut Rng) -> &[u8] {
        &self.0[random.usize(..self.0.len())]
    }

    /// One of them with some changes, or none.
    pub fn mutated(&self, random: &mut Rng) -> Vec<u8> {
        let mut state = self.any(random).to_vec();
        for _ in 0..random.usize(..4) {
            if state.len() < 5 {
                break;
            }
            let at = random.usize(..state.len());
            match random.u8(..9) {
                0 => state[at] ^= 1 << random.u8(..8),
                1 => state[at] = random.u8(..),
                // Counts and widths that are just too great or too small.
                2 => {
                    state[at] = *random
                        .choice(&[0, 1, 0x1f, 0x20, 0x21, 0x3f, 0x7f, 0x80, 0xff])
                        .unwrap()
                }
                // Version and flags.
                3 => state[2] = random.u8(..4),
                4 => state[3] = random.u8(..),
                5 => state.truncate(at),
                6 => {
                    state.truncate(at);
                    state.extend(bytes(random, 60));
                }
                // The end of another one, or a part of itself.
                7 => {
                    let other = self.any(random);
                    state.truncate(at);
                    state.extend(&other[at.min(other.len())..]);
                }
                _ => {
                    let part = state[at..].to_vec();
                    state.splice(at.., part.iter().chain(&part).copied());
                }
            }
        }
        state
    }
}

/// What `DUMP` would say of a string: `RESTORE` takes it, whatever the bytes are.
pub fn payload(bytes: &[u8]) -> Vec<u8> {
    // Of Redis 3, which all servers read.
    const RDB_VERSION: u16 = 6;
    const STRING: u8 = 0;
    const LENGTH_OF_14_BITS: u16 = 1 << 14;
    let length = LENGTH_OF_14_BITS | u16::try_from(bytes.len()).unwrap();
    let mut payload = vec![STRING];
    payload.extend(length.to_be_bytes());
    payload.extend(bytes);
    signed(payload, RDB_VERSION)
}

/// Puts the version and the checksum behind what a payload says.
pub fn signed(mut payload: Vec<u8>, version: u16) -> Vec<u8> {
    payload.extend(version.to_le_bytes());
    let checksum = crc64(&payload);
    payload.extend(checksum.to_le_bytes());
    payload
}

/// The checksum that `RESTORE` wants: CRC-64 of Jones.
fn crc64(bytes: &[u8]) -> u64 {
    const POLYNOMIAL: u64 = 0x95ac_9329_ac4b_c9b5;
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u64::from(*byte), |crc, _| {
            crc >> 1 ^ if crc & 1 == 1 { POLYNOMIAL } else { 0 }
        })
    })
}
