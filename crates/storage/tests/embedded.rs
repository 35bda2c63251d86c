//! The suite on the embedded store.

use std::sync::Arc;

use storage::testing::{self, Fixture};
use storage::{Embedded, OpenOptions};

async fn make() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::open(&folder.path().join("store"), OpenOptions::new(testing::clock())).await.unwrap();
    Fixture { store: Arc::new(store), guard: Box::new(folder) }
}

storage::suite!(make);
