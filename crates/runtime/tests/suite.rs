//! The suite on the fake, with a paused clock.

use std::sync::Arc;

use runtime::fake::{FakeRuntime, ImageBehaviour};
use runtime::testing::Harness;

async fn harness() -> Harness {
    let fake = Arc::new(FakeRuntime::default());
    let missing_image = "minik/missing:v1".to_owned();
    fake.set_image(&missing_image, ImageBehaviour::missing(&missing_image));
    Harness {
        runtime: fake.clone(),
        images: fake,
        image: "minik/steps:test".to_owned(),
        missing_image,
        unique: String::new(),
        cleanup: Box::new(|| Box::pin(async {})),
    }
}

runtime::runtime_suite!(harness, start_paused = true);
