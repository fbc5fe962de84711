//! A task id that comes after the job was given up, to a worker whose connection is gone by then: the
//! job was acked by whoever gave it up, so nobody would be left to correct its event.

use comet_worker::queue::consume::Message;

use crate::doubles::broker::{FakeBroker, PublishFault, Settled};
use crate::doubles::effects::Side;
use crate::workbench::{Workbench, job};

/// What came into the queue once more.
fn brought_back(broker: &FakeBroker) -> Vec<Message> {
    let jobs = broker.queue("comet.jobs").into_iter();
    jobs.map(|job| Message { body: job.body, properties: job.properties }).collect()
}

/// Found by the simulation: a worker froze within its POST, and its connection with it.
#[tokio::test(start_paused = true)]
async fn a_late_task_id_corrects_the_event_also_when_its_delivery_is_gone() {
    for publisher_is_gone_too in [false, true] {
        let bench = Workbench::new();
        let mut accepting = bench.effects.hold("post", Side::After);
        let frozen = bench.deliver(job("a"));
        accepting.reached().await;
        assert_eq!(bench.another().run(job("a")).await, Some(Settled::Acked));
        assert_eq!(bench.broker.end("a").reason.as_deref(), Some("outcome_unknown"));
        bench.lost.cancel();
        if publisher_is_gone_too {
            bench.broker.fail([PublishFault::NotTaken]);
        }
        drop(accepting);
        assert_eq!(frozen.ended().await, None);
        assert!(bench.broker.corrections("a").is_empty());
        let [again] = brought_back(&bench.broker).try_into().unwrap();
        assert_eq!(bench.another().run(again).await, Some(Settled::Acked));
        assert_eq!(bench.broker.corrections("a").len(), 1);
        assert_eq!((bench.charges("a"), bench.provider.posts().len()), (1, 1));
    }
}
