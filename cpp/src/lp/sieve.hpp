// A game over very many columns in one or two reads of them.
#pragma once
#include <clinometer/lp/ensemble.hpp>
#include <optional>

namespace clinometer::lp {

/// Column generation on all columns; defined with solve_ensemble.
EnsembleResult solve_whole(const Entries& m, const Work& work);

/// The game of a sample gives prices and a value. One read of all columns keeps those that could matter at prices near
/// these; their game is solved; if its prices are still near, the columns left out stay below its value and it is the
/// whole game. Otherwise again, from the better prices. Nothing if there are few columns, or too many of them matter.
std::optional<EnsembleResult> solve_sieved(const Entries& m, const Work& work);

}  // namespace clinometer::lp
