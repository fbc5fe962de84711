//! The store of the receipts itself: its id, and whether it works as a gate.

use bytes::Bytes;
use futures_util::future::try_join_all;
use object_store::ObjectStoreExt as _;
use object_store::path::Path;

use super::{Created, Receipts};
use crate::storage::StoreError;

/// How often the store's create is tested, and by how many creators at the same time.
const RACES: u32 = 4;
const RACERS: u32 = 8;

/// The store's own id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreId {
    pub id: String,
    /// Whether the id was created just now, since this store was not used before.
    pub is_new: bool,
}

impl Receipts {
    /// Returns the store's own id. The first call creates it; it is the same for all workers on this store.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn store_id(&self) -> Result<StoreId, StoreError> {
        let fresh = Bytes::from(uuid::Uuid::new_v4().to_string());
        let key = self.store_id_key();
        let (bytes, is_new) = match self.create(&key, fresh.clone()).await? {
            Created::Now => (fresh, true),
            Created::Before(bytes) => (bytes, false),
        };
        Ok(StoreId { id: String::from_utf8_lossy(&bytes).into_owned(), is_new })
    }

    /// Returns the id that the store has now, without creating one.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn store_name(&self) -> Result<Option<String>, StoreError> {
        let found = self.read(&self.store_id_key()).await?;
        Ok(found.map(|found| String::from_utf8_lossy(&found).into_owned()))
    }

    /// Binds this to the store with that id. Nothing is written to another store at the same path.
    pub fn belong_to(&self, id: &str) {
        self.storage.marked_by(&self.store_id_key(), id);
    }

    /// Whether the store lets exactly one of many creators win, and refuses to create what exists. It is tested on
    /// separate objects. A store that checks first and writes afterwards lets several creators win that check at the
    /// same moment.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn creates_only_once(&self) -> Result<bool, StoreError> {
        for _ in 0..RACES {
            let key = self.storage.key(["receipts", &format!("probe-{}", uuid::Uuid::new_v4())]);
            let won = self.race(&key).await;
            // The worker may lack the right to delete, and doesn't need it.
            let _ = self.storage.objects().delete(&key).await;
            if !won? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether exactly one of many simultaneous creators wins, and no later one.
    async fn race(&self, key: &Path) -> Result<bool, StoreError> {
        let bodies: Vec<Bytes> = (0..RACERS).map(|number| Bytes::from(format!("racer {number}"))).collect();
        let asks = bodies.iter().map(|body| self.passes(key, body.clone()));
        let passed = try_join_all(asks).await?;
        let late = self.passes(key, Bytes::from_static(b"late")).await?;
        let kept = self.read(key).await?;
        let winner = passed.iter().position(|passed| *passed);
        let wins = passed.iter().filter(|passed| **passed).count();
        Ok(wins == 1 && !late && kept.as_ref() == winner.and_then(|winner| bodies.get(winner)))
    }

    /// Whether this ask wins; a repeated ask that has won before wins again.
    async fn passes(&self, key: &Path, body: Bytes) -> Result<bool, StoreError> {
        Ok(match self.create(key, body.clone()).await? {
            Created::Now => true,
            Created::Before(before) => before == body,
        })
    }

    fn store_id_key(&self) -> Path {
        self.storage.key(["receipts", "store-id"])
    }
}
