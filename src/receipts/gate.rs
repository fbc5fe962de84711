//! What the receipts' store itself is: its name, and whether it is the gate that it should be.

use bytes::Bytes;
use futures_util::future::try_join_all;
use object_store::ObjectStoreExt as _;
use object_store::path::Path;

use super::{Created, Receipts};
use crate::storage::StoreError;

/// How often, and by how many at once, it is tried whether one creator wins.
const RACES: u32 = 4;
const RACERS: u32 = 8;

/// The store's own name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreId {
    pub id: String,
    /// It was given just now: nobody has used this store before.
    pub is_new: bool,
}

impl Receipts {
    /// The store's own name, created with the first call; the same for all workers on this store.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn store_id(&self) -> Result<StoreId, StoreError> {
        let fresh = Bytes::from(uuid::Uuid::new_v4().to_string());
        let key = self.store_id_key();
        let (bytes, is_new) = match self.create(&key, fresh.clone()).await? {
            Created::Now => (fresh, true),
            Created::Before(bytes) => (bytes, false),
        };
        Ok(StoreId { id: String::from_utf8_lossy(&bytes).into_owned(), is_new })
    }

    /// The name that the store has now; it is given none.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn store_name(&self) -> Result<Option<String>, StoreError> {
        let found = self.read(&self.store_id_key()).await?;
        Ok(found.map(|found| String::from_utf8_lossy(&found).into_owned()))
    }

    /// The store is the one of that name, and nothing is written to another that its path may lead to.
    pub fn belong_to(&self, id: &str) {
        self.storage.marked_by(&self.store_id_key(), id);
    }

    /// Whether the store lets one of many creators win, and refuses to create what is there: tried on objects of its own. A
    /// store that looks first and writes then lets several win that look at the same moment.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn creates_only_once(&self) -> Result<bool, StoreError> {
        for _ in 0..RACES {
            let key = self.storage.key(["receipts", &format!("probe-{}", uuid::Uuid::new_v4())]);
            let won = self.race(&key).await;
            // It may not be allowed to delete, and needs not be.
            let _ = self.storage.objects().delete(&key).await;
            if !won? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether exactly one of many creators at once wins, and none that comes later.
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

    /// Whether this ask wins, also if it is a repeated one that has won before.
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
