//! How long a client waits, if each connection asks one thing at a time and asks again as soon as it is answered.

use std::io::{Read, Write};
use std::time::Instant;

use mio::net::UnixStream;
use mio::{Events, Interest, Poll, Token};

use super::keys::{Keys, Order, Sizes};
use super::progress;
use super::request::Request;
use super::slices::Job;
use super::statistics::{Summary, quantile};
use super::target::Target;
use super::wire::{Wanted, first_integer, length};
use super::workloads::{CHECK_100_FULL, Workload, base, check_denied, full, gcra_granted};

pub const CONNECTIONS: [usize; 3] = [1, 50, 500];
pub const SHARES: [f64; 3] = [0.5, 0.99, 0.999];

/// One kind of request on some connections.
#[derive(Clone, Debug)]
pub struct Latency {
    pub name: String,
    pub connections: usize,
    /// Microseconds, for each of [`SHARES`].
    pub percentiles: [Summary; 3],
    /// Requests a second.
    pub throughput: Summary,
}

/// All kinds in turn in each round, as often as `calls` says.
pub fn measure(target: &mut Target, sizes: Sizes, rounds: usize, calls: usize) -> Vec<Latency> {
    let keys = Keys::HundredThousand;
    let kinds = [
        Workload::new("INCR", keys, "INCR {key}"),
        base(keys),
        gcra_granted(keys),
        full(CHECK_100_FULL, keys, 100),
        check_denied(keys),
    ];
    let jobs = kinds.map(|kind| Job::set_up(target, kind, sizes));
    let mut loads: Vec<Load> = CONNECTIONS
        .into_iter()
        .flat_map(|connections| jobs.iter().map(move |job| (connections, job)))
        .map(|(connections, job)| Load::connect(target, job, connections))
        .collect();
    for round in 0..rounds {
        for load in &mut loads {
            progress::show(format_args!(
                "latency: round {} of {rounds}, {} connections, {}",
                round + 1,
                load.connections.len(),
                load.name
            ));
            // Alone, each waits for the other's system calls: fewer tell as much.
            let calls = if load.connections.len() == 1 {
                calls / 2
            } else {
                calls
            };
            load.round(calls);
        }
    }
    progress::clear();
    loads.into_iter().map(Load::result).collect()
}

/// A kind of request and its connections.
struct Load {
    name: String,
    request: Request,
    wanted: Wanted,
    order: Order,
    poll: Poll,
    connections: Vec<Connection>,
    /// Of each round.
    percentiles: Vec<[f64; 3]>,
    throughput: Vec<f64>,
}

struct Connection {
    socket: UnixStream,
    received: Vec<u8>,
    asked: Instant,
}

impl Load {
    fn connect(target: &Target, job: &Job, connections: usize) -> Self {
        let poll = Poll::new().unwrap();
        let connections = (0..connections)
            .map(|at| {
                let path = target.primary.socket();
                let plain = std::os::unix::net::UnixStream::connect(path).unwrap();
                select(&plain, job.database);
                plain.set_nonblocking(true).unwrap();
                let mut socket = UnixStream::from_std(plain);
                poll.registry()
                    .register(&mut socket, Token(at), Interest::READABLE)
                    .unwrap();
                Connection {
                    socket,
                    received: Vec::new(),
                    asked: Instant::now(),
                }
            })
            .collect();
        Self {
            name: job.workload.name.clone(),
            request: job.request.clone(),
            wanted: job.workload.wanted,
            order: job.order.clone(),
            poll,
            connections,
            percentiles: Vec::new(),
            throughput: Vec::new(),
        }
    }

    fn round(&mut self, calls: usize) {
        let mut waits: Vec<f64> = Vec::with_capacity(calls);
        let begin = Instant::now();
        let mut asked = 0;
        for connection in &mut self.connections {
            connection.ask(&self.request, &mut self.order);
            asked += 1;
        }
        let mut events = Events::with_capacity(self.connections.len());
        while waits.len() < asked {
            self.poll.poll(&mut events, None).unwrap();
            for event in &events {
                let connection = &mut self.connections[event.token().0];
                if !connection.is_answered(&self.name, self.wanted) {
                    continue;
                }
                waits.push(connection.asked.elapsed().as_nanos() as f64 / 1_000.0);
                if asked < calls {
                    connection.ask(&self.request, &mut self.order);
                    asked += 1;
                }
            }
        }
        self.throughput
            .push(asked as f64 / begin.elapsed().as_secs_f64());
        waits.sort_by(f64::total_cmp);
        self.percentiles
            .push(SHARES.map(|share| quantile(&waits, share)));
    }

    fn result(self) -> Latency {
        let of = |at: usize| Summary::of(self.percentiles.iter().map(|row| row[at]));
        Latency {
            connections: self.connections.len(),
            percentiles: [of(0), of(1), of(2)],
            throughput: Summary::of(self.throughput),
            name: self.name,
        }
    }
}

fn select(mut socket: &std::os::unix::net::UnixStream, database: usize) {
    write!(socket, "SELECT {database}\r\n").unwrap();
    let mut reply = [0; 5];
    socket.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"+OK\r\n");
}

impl Connection {
    fn ask(&mut self, request: &Request, order: &mut Order) {
        let mut bytes = Vec::with_capacity(128);
        request.render(&mut || order.next(), &mut bytes);
        self.asked = Instant::now();
        self.socket.write_all(&bytes).unwrap();
    }

    /// Whether the whole reply is here.
    fn is_answered(&mut self, name: &str, wanted: Wanted) -> bool {
        let mut bytes = [0; 512];
        loop {
            match self.socket.read(&mut bytes) {
                Ok(0) => panic!("{name}: the server has closed the connection"),
                Ok(count) => self.received.extend(&bytes[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return false,
                Err(error) => panic!("{name}: {error}"),
            }
            if length(&self.received) == Some(self.received.len()) {
                break;
            }
        }
        if let Wanted::First(integer) = wanted {
            assert_eq!(first_integer(&self.received), Some(integer), "{name}");
        }
        self.received.clear();
        true
    }
}
