// Spares: things that one thread uses at a time, kept for the next that asks.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace pergrad {

// As many T as were ever in use at once. Any thread may ask; what it got is its own until it lets go, and it
// gets the one that it had last, if it can: that is still in its cache.
template <class T>
class Spares {
 public:
  class Lease {
   public:
    Lease(Spares& spares, std::unique_ptr<T> one) : spares_(spares), one_(std::move(one)) {}
    ~Lease() {
      const std::lock_guard alone(spares_.mutex_);
      spares_.all_.emplace_back(std::this_thread::get_id(), std::move(one_));
    }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    T& operator*() const { return *one_; }

   private:
    Spares& spares_;
    std::unique_ptr<T> one_;
  };

  // One that is not in use, or a new one. The spares outlive it.
  Lease take() {
    std::unique_ptr<T> one;
    {
      const std::lock_guard alone(mutex_);
      if (all_.empty()) {
        all_.reserve(++made_);  // so that the end of a lease needs no memory
      } else {
        const auto mine = std::ranges::find(all_, std::this_thread::get_id(), &Entry::first);
        std::swap(mine == all_.end() ? all_.front() : *mine, all_.back());
        one = std::move(all_.back().second);
        all_.pop_back();
      }
    }
    return {*this, one ? std::move(one) : std::make_unique<T>()};
  }

 private:
  using Entry = std::pair<std::thread::id, std::unique_ptr<T>>;  // who had it last
  std::mutex mutex_;
  size_t made_ = 0;
  std::vector<Entry> all_;  // that are not in use
};

}  // namespace pergrad
