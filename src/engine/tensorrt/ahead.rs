//! Frames that are next travel to the card while it computes the present batch.
//!
//! They lie beside the places that graphs read, and move there by a copy within the card when their turn comes, which
//! costs microseconds where the way from the host costs hundreds. The line's queue keeps them next; a frame whose part nobody
//! waits for any longer does not come after all and costs nothing but its upload.

use std::sync::Arc;

use crate::cuda::{Buffer, CudaError, Event, Gpu, HostBuffer, Stream, ViewMut};
use crate::frame::Image;

/// One frame sent ahead.
struct Place {
    host: HostBuffer<u8>,
    device: Buffer<u8>,
    /// Which; kept alive, so that no other picture can be taken for it.
    image: Option<Image>,
}

/// Room for a batch of frames sent ahead.
pub struct Ahead {
    gpu: Arc<Gpu>,
    uploads: Stream,
    places: Vec<Place>,
    /// The uploads of the last [`Self::send`] have passed.
    sent: Event,
    /// What was taken has left its place.
    taken: Event,
}

impl Ahead {
    /// For batches of up to `max_batch`, sent on `uploads`.
    pub fn new(gpu: &Arc<Gpu>, uploads: &Stream, max_batch: usize) -> Result<Self, CudaError> {
        let place = |_| -> Result<Place, CudaError> {
            Ok(Place { host: gpu.host_buffer(0)?, device: Buffer::zeros(&gpu.machine(), 0)?, image: None })
        };
        Ok(Self {
            places: (0..max_batch).map(place).collect::<Result<_, _>>()?,
            sent: gpu.event()?,
            taken: gpu.event()?,
            uploads: uploads.clone(),
            gpu: Arc::clone(gpu),
        })
    }

    /// Whether this very picture was sent.
    pub fn has(&self, image: &Image) -> bool {
        self.find(image).is_some()
    }

    fn find(&self, image: &Image) -> Option<&Place> {
        self.places.iter().find(|place| place.image.as_ref().is_some_and(|sent| sent.is_same(image)))
    }

    /// Enqueues the copy of a picture that was sent to `to`, on a stream that has waited for the uploads. False when it
    /// was not sent.
    pub fn take(&self, stream: &Stream, image: &Image, to: ViewMut<'_, u8>) -> Result<bool, CudaError> {
        let Some(place) = self.find(image) else { return Ok(false) };
        self.gpu.copy(stream, place.device.view().slice(0..image.data().len()), to)?;
        Ok(true)
    }

    /// Marks on `stream` that everything wanted has been taken: the places may be written again behind it.
    pub fn release(&self, stream: &Stream) -> Result<(), CudaError> {
        self.taken.record(stream)
    }

    /// Sends pictures, in place of those that were sent before; enqueues, and waits for nothing but the uploads of the
    /// last call. More than there are places for are left out.
    pub fn send(&mut self, images: Vec<Image>) -> Result<(), CudaError> {
        self.forget();
        // The card may still read the page-locked memory, or a place that is being taken.
        self.sent.synchronize()?;
        self.taken.hold(&self.uploads)?;
        for (place, image) in self.places.iter_mut().zip(images) {
            let bytes = image.data();
            if place.device.len() < bytes.len() {
                place.device = Buffer::zeros(&self.gpu.machine(), bytes.len())?;
                place.host = self.gpu.host_buffer(bytes.len())?;
            }
            let host = &mut place.host.as_mut_slice()[..bytes.len()];
            host.copy_from_slice(bytes);
            let to = place.device.view_mut().slice(0..bytes.len());
            // SAFETY: the place is written again only after `sent`, which is recorded below, and dropped only after the
            // stream has been waited for.
            unsafe { self.gpu.upload(&self.uploads, host, to)? };
            place.image = Some(image);
        }
        self.sent.record(&self.uploads)
    }

    /// Nothing counts as sent any more.
    pub fn forget(&mut self) {
        self.places.iter_mut().for_each(|place| place.image = None);
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        // The card may still read the page-locked memory that goes.
        if let Err(error) = self.gpu.synchronize(&self.uploads) {
            tracing::warn!(%error, "closing the way ahead");
        }
    }
}
