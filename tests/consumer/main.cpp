// Ten private steps of a linear model on images made up here, by the libraries alone.   consumer [LEDGER]
#include "augment/evaluation_views.h"
#include "augment/view_source.h"
#include "dp/accountant.h"
#include "dp/step.h"
#include "layers/model_gradients.h"
#include "layers/optimizer.h"

#include <cstdio>
#include <exception>
#include <string>

using namespace pergrad;

// n images 8 x 8: the left half is bright for label 0, the right half for label 1; noise on both.
Dataset halves(int64_t n, uint64_t seed) {
  Dataset data{.name = "halves", .height = 8, .width = 8, .channels = 1, .label_count = 2};
  ChaChaStream random(key_from_text("halves"), seed, 0);
  for (int64_t id = 0; id < n; ++id) {
    data.labels.push_back(static_cast<int32_t>(id % 2));
    for (int64_t pixel = 0; pixel < data.image_size(); ++pixel)
      data.pixels.push_back(static_cast<uint8_t>(below(random, 160) + (pixel % 8 / 4 == id % 2 ? 16 : 0)));
  }
  return data;
}

// Mean cross-entropy on images that need no protection.
double loss_on(const Dataset& data, const augment::Normalisation& normalisation, Model& model) {
  Workspace workspace;
  const ExampleBatch batch = augment::evaluation_views(data, normalisation, 0, data.size(), {}, workspace);
  Score score;
  add_to_score(score, predict(model, batch.images, {}), data.labels);
  return score.loss / static_cast<double>(score.images);
}

int main(int argc, char** argv) try {
  const std::string ledger_file = argc > 1 ? argv[1] : "ledger.jsonl";
  const Dataset train = halves(1000, 0), test = halves(200, 1);
  const augment::Normalisation normalisation({0.4}, {0.25});
  const Key run_key = key_from_entropy();  // who knows it can subtract the noise

  Model model({.name = "linear"}, {train.height, train.width, train.channels}, train.label_count);
  model.parameters().allocate(DType::f32, key_from_text("initial weights"));
  const auto optimizer = make_optimizer({.momentum = 0.5}, model.parameters().size());

  // What is promised; sampler, mechanism and accountant read nothing else.
  const dp::Plan plan({.sampling_rate = 0.1,
                       .noise_multiplier = 2,
                       .clip_norm = 1,
                       .steps = 10,
                       .expected_batch = 100,
                       .delta = 1e-5,
                       .max_examples = train.size()});
  const dp::PoissonSampler sampler(plan, run_key, train.size());
  augment::ViewSource views(train, {.base = 4, .crop_padding = 1}, normalisation,
                            derive_key(run_key, "augment"), nullptr, {});
  ModelGradients gradients(model, {});
  dp::Ledger ledger(ledger_file, plan);
  dp::GaussianMechanism mechanism(plan, run_key, ledger);

  const double before = loss_on(test, normalisation, model);
  for (int64_t step = 0; step < plan->steps; ++step) {
    const dp::PrivateGradient gradient =
        dp::private_step(sampler, views, gradients, mechanism, step, /*chunk_rows=*/32, {});
    optimizer->step(model.parameters(), gradient.values(), /*learning_rate=*/0.2);
  }
  std::printf("loss %.4f before, %.4f after\n", before, loss_on(test, normalisation, model));
  const dp::PrivacyCost spent = dp::spent_cost(ledger_file, plan->delta);
  std::printf("epsilon %.4f at delta %g\n", spent.epsilon_upper, spent.delta);
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "consumer: %s\n", error.what());
  return 1;
}
