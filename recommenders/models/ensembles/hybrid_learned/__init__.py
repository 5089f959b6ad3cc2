"""Two-stage ranking: base models propose candidates, boosted trees rank them (Covington et al. 2016)."""
