"""A boosted ranker over the candidates of all base models (Covington et al. 2016)."""
