// The data of a config: training images within data.train_limit, those to score on (the test set or, with
// data.validation, what is held out of the training images), and the public pool, checked.
#pragma once

#include "apps/config.h"
#include "apps/data_load.h"
#include "augment/public_pool.h"

#include <optional>
#include <string>

namespace pergrad::apps {

// THROWS: Error and its kinds.
Split load_split(const Config& config, const std::string& data_root, const Progress& progress = {});
// None where augment.pool is 0.   THROWS: PrivacyError if an image of the pool is in the training data.
std::optional<augment::PublicPool> load_public_pool(const Config& config, const Dataset& train,
                                                    const std::string& data_root,
                                                    const Progress& progress = {});

}  // namespace pergrad::apps
