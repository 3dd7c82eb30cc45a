// Scores of the rows of a safetensors file that is mapped and not copied: score_mapped FILE TENSOR
#include <clinometer/clinometer.h>
#include <clinometer/mapped_file.hpp>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

struct Tensor {
  std::int32_t dtype;
  std::int64_t rows, columns, begin, end;
};

/// The numbers in brackets after `key`.
std::vector<std::int64_t> list(const std::string& entry, const char* key) {
  std::vector<std::int64_t> out;
  std::size_t at = entry.find(key);
  if (at == std::string::npos || (at = entry.find('[', at)) == std::string::npos) throw std::runtime_error("no list");
  for (const char* c = entry.c_str() + at; *c && *c != ']';) {
    char* next = nullptr;
    out.push_back(std::strtoll(c + 1, &next, 10));
    c = next + std::strspn(next, " ");
  }
  return out;
}

/// A tensor of a header such as {"phi": {"dtype": "F16", "shape": [40, 8], "data_offsets": [0, 640]}}.
Tensor find(const clinometer::MappedFile& file, const std::string& name) {
  std::uint64_t length = 0;
  if (file.size() < 8) throw std::runtime_error("too short for safetensors");
  std::memcpy(&length, file.data(), 8);
  if (length > file.size() - 8) throw std::runtime_error("the header ends behind the file");
  const std::string header(reinterpret_cast<const char*>(file.data()) + 8, length);
  const std::size_t at = header.find('"' + name + '"');
  if (at == std::string::npos) throw std::runtime_error("no tensor " + name);
  const std::string entry = header.substr(at, header.find('}', at) - at);
  const std::vector<std::int64_t> shape = list(entry, "shape"), ends = list(entry, "data_offsets");
  const char* const kinds[] = {"\"F32\"", "\"F16\"", "\"BF16\"", "\"F64\""};
  std::int32_t dtype = 0;
  while (dtype < 4 && entry.find(kinds[dtype]) == std::string::npos) ++dtype;
  const std::int64_t bytes[] = {4, 2, 2, 8}, held = std::int64_t(file.size() - 8 - length);
  if (dtype == 4 || shape.size() != 2 || ends.size() != 2 || ends[0] < 0 || ends[1] > held ||
      ends[1] - ends[0] != shape[0] * shape[1] * bytes[dtype])
    throw std::runtime_error(name + " is no matrix of floats inside the file");
  return {dtype, shape[0], shape[1], std::int64_t(8 + length) + ends[0], std::int64_t(8 + length) + ends[1]};
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 3) throw std::runtime_error("usage: score_mapped FILE TENSOR");
  const clinometer::MappedFile file(argv[1]);
  const Tensor tensor = find(file, argv[2]);
  const std::vector<double> direction(std::size_t(tensor.columns), 1.0);
  std::vector<double> scores(std::size_t(tensor.rows));
  const clinometer_rows rows{file.data() + tensor.begin, tensor.rows, tensor.columns, 0, tensor.dtype, 1, 2};
  if (clinometer_score(&rows, direction.data(), 1, scores.data()) != CLINOMETER_OK)
    throw std::runtime_error(clinometer_error());
  file.check();  // the file that was mapped is still the one that is there
  for (const double s : scores) std::printf("%.17g\n", s);
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 1;
}
