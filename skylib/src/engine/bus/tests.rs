use super::*;

impl BusMessage for u32 {
    fn namespace(&self) -> &str {
        if self.is_multiple_of(2) {
            "even"
        } else {
            "odd"
        }
    }

    fn weight(&self) -> usize {
        4
    }
}

fn limits(max_messages: usize) -> SubscribeOptions {
    SubscribeOptions {
        max_messages,
        ..SubscribeOptions::default()
    }
}

#[test]
fn subscribers_receive_the_namespaces_they_selected() {
    let bus = Bus::default();
    let namespaces = Some(vec!["odd".to_owned()]);
    let mut odd = bus.subscribe(SubscribeOptions {
        namespaces,
        ..limits(10)
    });
    assert!(bus.is_wanted("odd") && !bus.is_wanted("even"));
    for i in 0..5_u32 {
        bus.send(&Arc::new(i));
    }
    assert_eq!(odd.try_next().as_deref(), Some(&1));
    assert_eq!(odd.len(), 1);
}

#[test]
fn every_subscriber_gets_every_message_in_order() {
    let bus = Bus::default();
    let mut all = [bus.subscribe(limits(100)), bus.subscribe(limits(100))];
    for i in 0..50_u32 {
        bus.send(&Arc::new(i));
    }
    for subscription in &mut all {
        let got: Vec<u32> = std::iter::from_fn(|| subscription.try_next())
            .map(|m| *m)
            .collect();
        assert_eq!(got, (0..50).collect::<Vec<_>>());
    }
}

#[test]
fn a_reader_that_keeps_reading_loses_nothing() {
    let bus = Arc::new(Bus::default());
    let mut subscription = bus.subscribe(limits(8));
    let sender = Arc::clone(&bus);
    let writer = std::thread::spawn(move || {
        for i in 0..10_000_u32 {
            sender.send(&Arc::new(i));
        }
    });
    let mut got = 0;
    while got < 10_000 {
        match subscription.try_next() {
            Some(message) => {
                assert_eq!(*message, got);
                got += 1;
            }
            None => std::thread::yield_now(),
        }
    }
    writer.join().unwrap();
    assert_eq!(bus.cut_off_count(), 0);
}

#[test]
fn a_reader_that_stopped_is_cut_off_and_the_others_continue() {
    let bus = Bus::default();
    let frozen = bus.subscribe(limits(2));
    let mut alive = bus.subscribe(limits(100));
    for i in 0..10_u32 {
        bus.send(&Arc::new(i));
    }
    assert_eq!(bus.cut_off_count(), 1);
    assert_eq!(alive.len(), 10);
    assert!(alive.try_next().is_some());
    assert!(frozen.is_empty(), "its memory is released");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let mut frozen = frozen;
    assert!(runtime.block_on(frozen.next()).is_none());
}

#[test]
fn many_stopped_readers_delay_the_others_no_longer_than_one() {
    let bus = Bus::default();
    // Their queues fill one after another.
    let frozen: Vec<_> = (2..22).map(|size| bus.subscribe(limits(size))).collect();
    let alive = bus.subscribe(limits(100));
    let began = monotonic::now();
    for i in 0..30_u32 {
        bus.send(&Arc::new(i));
    }
    let took = began.elapsed();
    assert_eq!((bus.cut_off_count(), alive.len()), (20, 30));
    assert!(took >= READ_TIMEOUT && took < 3 * READ_TIMEOUT, "{took:?}");
    drop(frozen);
}

#[test]
fn a_large_message_waits_until_it_fits_whole() {
    struct Sized(usize);
    impl BusMessage for Sized {
        fn namespace(&self) -> &str {
            ""
        }

        fn weight(&self) -> usize {
            self.0
        }
    }
    let bus = Arc::new(Bus::default());
    let mut subscription = bus.subscribe(SubscribeOptions {
        max_bytes: 1_000,
        ..limits(1_000)
    });
    for _ in 0..500 {
        bus.send(&Arc::new(Sized(2)));
    }
    let sender = Arc::clone(&bus);
    let writer = std::thread::spawn(move || sender.send(&Arc::new(Sized(900))));
    let queue = Arc::clone(&subscription.0);
    let mut most = 0;
    for _ in 0..501 {
        while subscription.try_next().is_none() {
            std::thread::yield_now();
        }
        most = most.max(queue.state.lock().bytes);
    }
    writer.join().unwrap();
    assert!(most <= 1_000, "{most}");
    assert_eq!(bus.cut_off_count(), 0);
}

#[test]
fn a_dropped_subscription_leaves_the_bus() {
    let bus = Bus::default();
    drop(bus.subscribe(limits(2)));
    bus.send(&Arc::new(1_u32));
    assert!(bus.is_empty());
}
