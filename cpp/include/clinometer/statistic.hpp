// A statistic is a monoid with a lens: empty(), absorb(block), merge(later), finish().
// Laws, checked for every statistic by tests/laws: empty is neutral; cutting the rows anywhere and
// merging in order gives the whole up to rounding; a state survives serialisation bit for bit.
// The fold calls merge only in canonical order, so a state may keep open ends (per_prompt.hpp).
#pragma once
#include <clinometer/block.hpp>

#include <cstring>
#include <initializer_list>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace clinometer {

/// A finished array of f64 with its name and shape.
struct Result {
  std::string name;
  std::vector<std::int64_t> shape;
  std::vector<double> data;
};
using Results = std::vector<Result>;

/// The product of sizes that come from a file, -1 where it is out of range: no array has that length.
inline std::int64_t product(std::initializer_list<std::int64_t> sizes) {
  std::int64_t out = 1;
  for (const std::int64_t n : sizes)
    if (n < 0 || __builtin_mul_overflow(out, n, &out)) return -1;
  return out;
}

/// Sees every field of a statistic, settings and state alike, in a fixed order. Bytes may come from anywhere: what the
/// code relies on (lengths above all) is stated here, beside the field, and a Reader refuses what is otherwise.
class Visitor {
 public:
  virtual ~Visitor() = default;
  virtual void field(const char* name, std::vector<double>& x) = 0;
  virtual void field(const char* name, std::vector<std::int64_t>& x) = 0;
  void field(const char* name, double& x) {
    std::vector<double> v{x};
    array(name, v, 1);
    x = v.front();
  }
  void field(const char* name, std::int64_t& x) {
    std::vector<std::int64_t> v{x};
    array(name, v, 1);
    x = v.front();
  }
  void field(const char* name, bool& x) {
    std::int64_t v = x;
    field(name, v);
    need(v == 0 || v == 1, name);
    x = v != 0;
  }
  /// A count, or a place in an array.
  void size(const char* name, std::int64_t& x) {
    field(name, x);
    need(x >= 0 && x <= std::int64_t(1) << 40, name);
  }
  /// An array of n numbers.
  template <class T>
  void array(const char* name, std::vector<T>& x, std::int64_t n) {
    field(name, x);
    need(std::int64_t(x.size()) == n, name);
  }
  /// What holds of every state.
  virtual void need(bool, const char*) {}
};

/// How a pass shares work: small states get leaves of rows, a d x d state gets tiles of itself.
enum class Split { rows, state };

class Team;   // fold.hpp: the threads of one pass
class Panel;  // fold.hpp: decoded rows for a Split::state statistic

class Statistic {
 public:
  virtual ~Statistic() = default;
  virtual std::unique_ptr<Statistic> empty() const = 0;
  virtual void absorb(const Block&) {}
  /// False, with nothing taken, where the panel's lanes are too narrow for its rows.
  virtual bool absorb(Panel&, Team&) { return true; }
  /// The leaf's last block has been absorbed: nothing may wait for more.
  virtual void leaf_ends() {}
  /// Empty again, in the memory it has; false, with nothing done, where that is too little to keep.
  virtual bool clear() { return false; }
  virtual void merge(Statistic& later) = 0;
  virtual Results finish() const = 0;
  /// What it was made with: two states merge only where this agrees.
  virtual void settings(Visitor& visit) = 0;
  /// Everything else it holds.
  virtual void fields(Visitor& visit) = 0;
  /// How many threads one call may use by itself, for what cannot be shared by rows.
  virtual void use_threads(std::int64_t) {}
  virtual Split split() const { return Split::rows; }
  virtual bool needs_rows() const { return false; }
  /// Weights it gives each row of a tile: with more than a few, blocks of more rows pay.
  virtual std::int64_t weights_per_row() const { return 0; }
  virtual bool needs_prompts() const { return true; }
  /// Reads Block::absolute.
  virtual bool needs_absolute() const { return false; }
  /// Reads Block::score.
  virtual bool needs_relative() const { return true; }
  /// Leaves that share one running state, a power of two: more than one where a node for each would take too long or
  /// too much memory.
  virtual std::int64_t span() const { return 1; }
};

namespace detail {

class Writer : public Visitor {
 public:
  std::string bytes;
  using Visitor::field;
  void field(const char*, std::vector<double>& x) override { put(x.data(), x.size(), 'd'); }
  void field(const char*, std::vector<std::int64_t>& x) override { put(x.data(), x.size(), 'q'); }

 private:
  void put(const void* data, std::size_t n, char tag) {
    const std::uint64_t count = n;
    bytes.push_back(tag);
    bytes.append(reinterpret_cast<const char*>(&count), 8);
    bytes.append(static_cast<const char*>(data), n * 8);
  }
};

/// Settings as bytes; a Writer only reads.
inline std::string settings_of(const Statistic& s) {
  Writer writer;
  const_cast<Statistic&>(s).settings(writer);
  return std::move(writer.bytes);
}

}  // namespace detail

/// Supplies empty() and the downcast of merge(); S gives cleared() and join(S&).
template <class S>
class StatisticOf : public Statistic {
 public:
  std::unique_ptr<Statistic> empty() const override {
    return std::make_unique<S>(static_cast<const S&>(*this).cleared());
  }
  void merge(Statistic& later) override {
    auto* other = dynamic_cast<S*>(&later);
    if (!other) throw std::invalid_argument("merge: the two states are of different statistics");
    if (detail::settings_of(*this) != detail::settings_of(later))
      throw std::invalid_argument("merge: the two states were made with different settings");
    static_cast<S&>(*this).join(*other);
  }
};

namespace detail {

class Reader : public Visitor {
 public:
  explicit Reader(std::string b) : bytes(std::move(b)) {}
  using Visitor::field;
  void field(const char* name, std::vector<double>& x) override { get(name, x, 'd'); }
  void field(const char* name, std::vector<std::int64_t>& x) override { get(name, x, 'q'); }
  void need(bool holds, const char* name) override {
    if (!holds) fail(name);
  }
  bool done() const { return at == bytes.size(); }

 private:
  std::string bytes;
  std::size_t at = 0;
  template <class T>
  void get(const char* name, std::vector<T>& x, char tag) {
    std::uint64_t count = 0;
    if (bytes.size() - at < 9 || bytes[at] != tag) fail(name);
    std::memcpy(&count, bytes.data() + at + 1, 8);
    at += 9;
    if (count > (bytes.size() - at) / 8) fail(name);
    x.resize(count);
    if (count) std::memcpy(x.data(), bytes.data() + at, count * 8);
    at += count * 8;
  }
  [[noreturn]] void fail(const char* name) {
    throw std::invalid_argument(std::string("state: damaged or of another version at field ") + name);
  }
};

}  // namespace detail

inline std::string serialise(const Statistic& s) {
  detail::Writer writer;
  const_cast<Statistic&>(s).settings(writer);  // a Writer only reads
  const_cast<Statistic&>(s).fields(writer);
  return std::move(writer.bytes);
}

inline void deserialise(Statistic& s, std::string bytes) {
  detail::Reader reader(std::move(bytes));
  s.settings(reader);
  s.fields(reader);
  if (!reader.done()) throw std::invalid_argument("state: bytes are left over after the last field");
}

inline void add(std::vector<double>& a, const std::vector<double>& b) {
  for (std::size_t i = 0; i < a.size(); ++i) a[i] += b[i];
}

}  // namespace clinometer
