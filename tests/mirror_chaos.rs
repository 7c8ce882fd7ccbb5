//! The mirror under whatever can happen to it: users, faults of API servers, kills, a second replica.
//!
//! Each round is random, from a seed that is printed: `CHAOS_SEED` repeats one, `CHAOS_ROUNDS` runs
//! more. When the faults end, west must come to exactly what east exports, as `expected` says it
//! independently of the mirror's own code; what is not ours is never touched, and what was exported
//! all the time is never deleted.

#![allow(clippy::expect_used, clippy::panic, missing_docs, reason = "test code")]

mod support;

#[path = "mirror_chaos/acts.rs"]
mod acts;
#[path = "mirror_chaos/expected.rs"]
mod expected;
#[path = "mirror_chaos/world.rs"]
mod world;

use std::time::{Duration, Instant};

use world::World;

/// How long users and faults are at work in one round.
const UNREST: Duration = Duration::from_secs(8);
/// How long the mirror may take from the last fault to the end: retries wait up to 30 s.
const CONVERGENCE: Duration = Duration::from_secs(60);
/// Then it writes nothing for so long.
const REST: Duration = Duration::from_secs(5);
/// Until then it may still speak, in the Link's status and in Events: watches that were refused come
/// back one by one, and each has something to say. Objects are right already.
const MOST_WORDS: usize = 10;

#[test]
fn whatever_happens_it_comes_to_what_is_exported_and_touches_nothing_else() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("CHAOS_SEED").unwrap_or_else(|| fastrand::u64(..));
    for round in 0..number("CHAOS_ROUNDS").unwrap_or(1) {
        let seed = seed.wrapping_add(round);
        println!("CHAOS_SEED={seed}");
        run(seed);
    }
}

fn run(seed: u64) {
    let mut world = World::new(seed);
    let until = Instant::now() + UNREST;
    while Instant::now() < until {
        world.act();
        world.check_foreign();
        std::thread::sleep(Duration::from_millis(world.random.u64(1..60)));
    }
    world.calm();
    let begin = Instant::now();
    loop {
        let wrong = expected::differences(&world);
        if wrong.is_empty() {
            break;
        }
        assert!(
            begin.elapsed() < CONVERGENCE,
            "seed {seed}: not as exported after {CONVERGENCE:?}:\n{}\nwhat happened:\n{}\n{}",
            wrong.join("\n"),
            world.told.join("\n"),
            world.processes()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    println!("as exported {:?} after the last fault", begin.elapsed());
    world.check_foreign();
    assert_eq!(world.deletes_of_the_stable(), Vec::<String>::new(), "seed {seed}");

    comes_to_rest(&world, seed);
    assert_eq!(expected::differences(&world), Vec::<String>::new(), "seed {seed}");
}

fn comes_to_rest(world: &World, seed: u64) {
    world.west.reset_log();
    let begin = Instant::now();
    let (mut count, mut since) = (0, begin);
    while since.elapsed() < REST {
        let writes = world.west.writes();
        if writes.len() > count {
            (count, since) = (writes.len(), Instant::now());
        }
        let lines: Vec<_> = writes.iter().map(|write| write.line()).collect();
        assert!(
            lines.iter().all(|line| line.contains(" links/status ") || line.contains(" events "))
                && count <= MOST_WORDS
                && begin.elapsed() < CONVERGENCE,
            "seed {seed}: it does not come to rest:\n{}\nwhat happened:\n{}\n{}",
            lines.join("\n"),
            world.told.join("\n"),
            world.processes()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}
