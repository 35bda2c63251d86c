//! Tests of `queue`, on a paused clock.

use super::*;

async fn now_or_never<K: Clone + Eq + Hash>(queue: &Queue<K>) -> Option<K> {
    tokio::time::timeout(Duration::ZERO, queue.get()).await.ok().flatten()
}

#[tokio::test(start_paused = true)]
async fn a_waiting_key_is_handed_out_once() {
    let queue = Queue::new(&Clock::simulated());
    for key in ["a", "b", "a", "a"] {
        queue.add(key);
    }
    assert_eq!(queue.get().await, Some("a"));
    assert_eq!(queue.get().await, Some("b"));
    assert_eq!(now_or_never(&queue).await, None);
    assert_eq!(queue.counters(), Counters { depth: 0, processing: 2, added: 2, retried: 0 });
}

#[tokio::test(start_paused = true)]
async fn a_key_added_while_it_is_worked_on_comes_again_after_done() {
    let queue = Queue::new(&Clock::simulated());
    queue.add("a");
    assert_eq!(queue.get().await, Some("a"));
    queue.add("a");
    queue.add("a");
    assert_eq!(now_or_never(&queue).await, None);
    queue.done(&"a");
    assert_eq!(queue.get().await, Some("a"));
    queue.done(&"a");
    assert_eq!(now_or_never(&queue).await, None);
}

#[tokio::test(start_paused = true)]
async fn the_earliest_of_several_delays_holds() {
    let clock = Clock::simulated();
    let queue = Queue::new(&clock);
    let started = clock.instant();
    queue.add_after("a", Duration::from_secs(10));
    queue.add_after("a", Duration::from_secs(3));
    queue.add_after("a", Duration::from_secs(7));
    queue.add_after("b", Duration::from_secs(5));
    assert_eq!(queue.get().await, Some("a"));
    assert_eq!(started.elapsed().as_secs(), 3);
    queue.done(&"a");
    assert_eq!(queue.get().await, Some("b"));
    assert_eq!(started.elapsed().as_secs(), 5);
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(now_or_never(&queue).await, None);
}

#[tokio::test(start_paused = true)]
async fn an_earlier_delay_wakes_a_waiting_worker() {
    let clock = Clock::simulated();
    let queue = Queue::new(&clock);
    queue.add_after("late", Duration::from_secs(100));
    let started = clock.instant();
    let worker = tokio::spawn({
        let queue = queue.clone();
        async move { queue.get().await }
    });
    tokio::task::yield_now().await;
    queue.add_after("early", Duration::from_secs(1));
    assert_eq!(worker.await.unwrap(), Some("early"));
    assert_eq!(started.elapsed().as_secs(), 1);
}

#[tokio::test(start_paused = true)]
async fn delays_double_with_each_failure_until_a_success() {
    let clock = Clock::simulated();
    let queue = Queue::new(&clock);
    let mut delays = Vec::new();
    for _ in 0..20 {
        let started = clock.instant();
        queue.add_rate_limited("a");
        assert_eq!(queue.get().await, Some("a"));
        queue.done(&"a");
        delays.push(started.elapsed().as_millis());
    }
    assert_eq!(delays[..4], [5, 10, 20, 40]);
    assert_eq!(delays[17..], [655_360, 1_000_000, 1_000_000]);
    queue.forget(&"a");
    assert_eq!(queue.requeues(&"a"), 0);
}

#[tokio::test(start_paused = true)]
async fn many_failing_keys_share_ten_retries_a_second() {
    let clock = Clock::simulated();
    let queue = Queue::new(&clock);
    let started = clock.instant();
    for key in 0..120 {
        queue.add_rate_limited(key);
    }
    for _ in 0..120 {
        queue.get().await.unwrap();
    }
    assert_eq!(started.elapsed().as_millis(), 2000);
}

#[tokio::test(start_paused = true)]
async fn every_worker_ends_when_the_queue_is_closed() {
    let queue = Queue::<&str>::new(&Clock::simulated());
    let workers: Vec<_> = (0..5)
        .map(|_| {
            let queue = queue.clone();
            tokio::spawn(async move { queue.get().await })
        })
        .collect();
    tokio::task::yield_now().await;
    queue.close();
    for worker in workers {
        assert_eq!(worker.await.unwrap(), None);
    }
    queue.add("late");
    assert_eq!(queue.get().await, None);
}
