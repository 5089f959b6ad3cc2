"""TF-IDF of texts."""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_array

MAX_WORDS = 4096
WORD = r"[^\W\d_]{2,}"  # letters of any script; digits are pack sizes and model numbers


def tf_idf(texts: Sequence[str]) -> csr_array:
    """(n_texts, n_words) float32: (1 + ln count) x (ln((1 + n) / (1 + texts with the word)) + 1).

    Leaves out words that occur in only one text, as they match no other text. Keeps the MAX_WORDS most frequent
    of the rest. Manning, Raghavan & Schütze 2008, section 6.4; the smoothing is scikit-learn's.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer  # scikit-learn is not needed to score

    vectorizer = TfidfVectorizer(
        token_pattern=WORD, min_df=2, max_features=MAX_WORDS, sublinear_tf=True, norm=None, dtype=np.float32
    )
    try:
        return csr_array(vectorizer.fit_transform(texts))
    except ValueError:  # scikit-learn's answer if no word is left
        return csr_array((len(texts), 0), dtype=np.float32)
