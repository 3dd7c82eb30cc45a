// States as a file that Python's `cm.merge`, `Fold.load` and `clinometer merge` read: folded here, finished there.
//
// The file is: length of the header (8 bytes) and CRC-32 of all that follows (4), little-endian; the header, JSON; then
// arrays and states one after another. Version 5.
#pragma once
#include <clinometer/statistic.hpp>

#include <cmath>
#include <cstdio>

namespace clinometer {

/// What a pass has folded, for `file()`. Prompts must differ from those of every other file that it is merged with.
class FoldFile {
 public:
  FoldFile(std::int64_t dim, bool in_double) : dim_(dim), in_double_(in_double) {}
  /// The directions of a pass, (names, dim).
  void directions(std::vector<std::string> names, std::vector<double> vectors) {
    if (std::int64_t(vectors.size()) != std::int64_t(names.size()) * dim_)
      throw std::invalid_argument("FoldFile: directions and names differ in number");
    names_ = std::move(names);
    vectors_ = std::move(vectors);
  }
  void values(std::vector<std::string> names) { values_ = std::move(names); }
  /// Rows and ids of the prompts that were folded, in order, and how many labels of each value were NaN.
  void counts(std::int64_t n_rows, std::vector<std::int64_t> prompts, std::vector<std::int64_t> unlabelled = {}) {
    n_rows_ = n_rows;
    prompts_ = std::move(prompts);
    unlabelled_ = std::move(unlabelled);
  }
  void moments(const Statistic& state, int ddof, bool covariance) {
    add(state, "Moments",
        R"("ddof": )" + std::to_string(ddof) + R"(, "covariance": )" + (covariance ? "true" : "false"), "[0, 0, 0, 0]");
  }
  /// A tilt by all directions of all values; betas (K, B).
  void tilt(const Statistic& state, const std::vector<double>& betas, bool extras = true) {
    const std::size_t K = names_.size(), B = K ? betas.size() / K : 0;
    std::string rows;
    for (std::size_t k = 0; k < K; ++k) {
      rows += k ? ", [" : "[";
      for (std::size_t b = 0; b < B; ++b) rows += (b ? ", " : "") + number(betas[k * B + b]);
      rows += "]";
    }
    add(state, "Tilt", R"("betas": [)" + rows + R"(], "extras": )" + (extras ? "true" : "false"),
        "[0, " + std::to_string(K) + ", 0, " + std::to_string(values_.size()) + "]");
  }

  std::string file() const {
    std::string blobs, payload, unlabelled, states;
    const auto blob = [&](const std::string& bytes, const std::string& shape) {
      blobs += (blobs.empty() ? "[" : ", [") + std::to_string(bytes.size()) + shape + "]";
      payload += bytes;
    };
    for (std::size_t i = 0; i < states_.size(); ++i) {
      states += (i ? ", " : "") + ("[\"" + kinds_[i] + "\", " + std::to_string(i) + "]");
      blob(states_[i], "");
    }
    const std::string bytes(reinterpret_cast<const char*>(vectors_.data()), vectors_.size() * 8);
    if (!names_.empty())
      blob(bytes, ", \"<f8\", [" + std::to_string(names_.size()) + ", " + std::to_string(dim_) + "]");
    for (std::size_t j = 0; j < values_.size(); ++j)
      unlabelled +=
          (j ? ", " : "") + text(values_[j]) + ": " + std::to_string(j < unlabelled_.size() ? unlabelled_[j] : 0);
    std::string seen, status;
    for (const std::int64_t id : prompts_) seen += (seen.empty() ? "" : ", ") + std::to_string(id);
    for (std::size_t k = 0; k < names_.size(); ++k) status += k ? ", \"given\"" : "\"given\"";
    const std::string head =
        R"({"format": "clinometer-fold", "version": 5, "statistics": [)" + statistics_ + R"(], "dim": )" +
        std::to_string(dim_) + R"(, "base": "sampled", "precision": )" + (in_double_ ? "\"double\"" : "\"mixed\"") +
        R"(, "directions": )" + list(names_) + R"(, "values": )" + list(values_) +
        R"(, "start_row": null, "n_rows": )" + std::to_string(n_rows_) +
        R"(, "begin": 0, "folded_to": 0, "open_left": false, "shares": [)" + shares_ + R"(], "seen": [)" + seen +
        R"(], "unlabelled": {)" + unlabelled + R"(}, "dump_facts": null, "fit_status": [)" + status +
        R"(], "columns": )" + list(values_) + R"(, "vectors": )" +
        (names_.empty() ? "null" : std::to_string(states_.size())) +
        R"(, "waiting": null, "head": null, "nodes": [], "before": [)" + states + R"(], "blobs": [)" + blobs + "]}";
    const std::string body = head + payload;
    return little(head.size(), 8) + little(crc32(body), 4) + body;
  }

 private:
  std::int64_t dim_, n_rows_ = 0;
  bool in_double_;
  std::vector<std::string> names_, values_, kinds_, states_;
  std::vector<double> vectors_;
  std::vector<std::int64_t> prompts_, unlabelled_;
  std::string statistics_, shares_;

  void add(const Statistic& state, const char* kind, const std::string& settings, const std::string& share) {
    statistics_ += std::string(statistics_.empty() ? "" : ", ") + "{\"kind\": \"" + kind + "\", " + settings + "}";
    shares_ += (shares_.empty() ? "" : ", ") + share;
    kinds_.push_back(kind);
    states_.push_back(serialise(state));
  }
  static std::string number(double x) {
    if (std::isinf(x)) return x > 0 ? "Infinity" : "-Infinity";
    char out[32];
    std::snprintf(out, sizeof out, "%.17g", x);
    return out;
  }
  static std::string text(const std::string& s) {
    std::string out = "\"";
    for (const char c : s) {
      char escaped[8];
      std::snprintf(escaped, sizeof escaped, "\\u%04x", unsigned(static_cast<unsigned char>(c)));
      if (static_cast<unsigned char>(c) < 0x20 || c == '"' || c == '\\')
        out += escaped;
      else
        out += c;
    }
    return out + "\"";
  }
  static std::string list(const std::vector<std::string>& names) {
    std::string out;
    for (const std::string& n : names) out += (out.empty() ? "" : ", ") + text(n);
    return "[" + out + "]";
  }
  static std::string little(std::uint64_t x, int bytes) {
    std::string out;
    for (int i = 0; i < bytes; ++i) out.push_back(char(x >> (8 * i) & 255));
    return out;
  }
  static std::uint64_t crc32(const std::string& bytes) {
    std::uint32_t crc = ~0u;
    for (const char c : bytes) {
      crc ^= static_cast<unsigned char>(c);
      for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
    }
    return ~crc;
  }
};

}  // namespace clinometer
