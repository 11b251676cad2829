//! How a camera looks at its frames: what of them, and where the part lies in them.

use super::locating::LocatePlan;
use super::recipe::{RecipeError, RecipeSpec};
use crate::look::Looker;
use crate::view::{Transform, ViewSpec};

/// See the module.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Way {
    /// What of its frames is looked at, and in how many tiles.
    pub view: ViewSpec,
    /// How its parts are found, where they do not lie still.
    pub locate: Option<LocatePlan>,
}

impl Way {
    /// Errors where frames of so many columns and rows cannot be looked at in this way.
    pub fn fits(&self, size: (u32, u32)) -> Result<(), RecipeError> {
        Transform::new(&self.view, size)?;
        Ok(self.locate.as_ref().map_or(Ok(()), |plan| plan.locator.fits(size))?)
    }

    /// As [`Way::fits`], and whether this recipe's regions leave tiles that can be looked at.
    pub fn fits_with(&self, size: (u32, u32), recipe: &RecipeSpec) -> Result<(), RecipeError> {
        self.fits(size)?;
        Looker::new(self.view.clone()).tiles(size, &recipe.regions)?;
        Ok(())
    }
}
