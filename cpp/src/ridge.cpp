#include <clinometer/ridge.hpp>

#include <Eigen/Cholesky>

namespace clinometer {

bool solve_ridge(const double* sigma, std::int64_t n, double ridge, const double* rhs, std::int64_t m, double* out) {
  Eigen::MatrixXd a = Eigen::Map<const Eigen::MatrixXd>(sigma, n, n);
  a.diagonal().array() += ridge;
  const Eigen::LLT<Eigen::Ref<Eigen::MatrixXd>> factor(a);
  if (factor.info() != Eigen::Success) return false;
  // rows of rhs are columns to Eigen, which stores by column
  Eigen::Map<Eigen::MatrixXd>(out, n, m) = factor.solve(Eigen::Map<const Eigen::MatrixXd>(rhs, n, m));
  return true;
}

}  // namespace clinometer
